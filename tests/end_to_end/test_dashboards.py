"""The boards over the real system, by a real Prometheus: whoever opens one sees something."""

import contextlib
import itertools
import math
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx
import pytest
from redis import Redis

from tests.support.boards import BOARDS, filled, panels, targets
from tests.support.otlp import OtlpReceiver, SpanRecord, is_connected, otlp_receiver
from tests.support.prometheus import Prometheus, prometheus
from tests.support.servers import Servers
from tests.support.system import QUESTION, System, eventually, system

pytestmark = pytest.mark.verify

RULES = Path(__file__).parents[2] / "observability" / "alerts" / "rules"

HEALTHY = {
    ("throughline-api", "Server errors by route"): "no request was answered by 5xx",
    ("throughline-queues", "Messages that could not be sent"): "Redis took them all",
    ("throughline-queues", "Expired and superseded"): "every run began in time, and none was in another's way",
    ("throughline-queues", "Blocked event loops"): "no node blocks its loop",
    ("throughline-telemetry", "Dropped by reason"): "the collector took every span",
}
"""Panels that have nothing to show while all is well, and why; other tests see them under their faults."""

AHEAD = {("throughline-slo", "Error budget left of 30 days"): 300.0}
"""Seconds in which a panel first shows what is there now: it looks at whole five minutes."""

PACE = 0.05
VALUES = {"__rate_interval": "15s", "__range": "10m"}


@dataclass
class Load:
    """Events of every kind, one after the other, until it is stopped."""

    system: System
    ledger: Path
    events: dict[str, str] = field(default_factory=dict)
    """Those that were accepted and have runs, by their trace's id."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self.system.api_url, timeout=10, trust_env=False) as client:
            for number, make in zip(itertools.count(), itertools.cycle(self._kinds()), strict=False):
                if self._stop.wait(PACE):
                    return
                answer = client.post("/events", json={"source": "load", "id": str(number), **make()})
                if answer.status_code == 202 and (event := answer.json())["runs"]:
                    self.events[event["trace_id"]] = event["event_id"]
                client.get("/runs", params={"status": "failed", "limit": 1})

    def _kinds(self) -> list[Callable[[], dict[str, object]]]:
        def work(kind: str, **more: object) -> Callable[[], dict[str, object]]:
            return lambda: {"type": f"chaos.{kind}", "data": {"ledger": str(self.ledger), **more}}

        return [
            lambda: dict(QUESTION),
            work("fresh"),
            work("steady", wait=5.0),
            work("flaky", fail_attempts=1),
            work("poisonous", poison="memory"),
            work("limited", wait=0.5),
            work("waiting", wait=0.5, case="one"),
            lambda: {"type": "chaos.reply", "data": {"ledger": str(self.ledger), "case": "one"}},
            lambda: {"type": "nobody.asked", "data": {}},
            lambda: {"type": "github.issues", "data": {"action": 7}},
        ]


@dataclass(frozen=True)
class Watched:
    system: System
    prometheus: Prometheus
    load: Load
    receiver: OtlpReceiver


@pytest.fixture(scope="module")
def watched(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The system under a little load with successes, retries and failures, and a Prometheus that scrapes it."""
    home = tmp_path_factory.mktemp("watched")
    database_url, redis_url = servers.create_database(migrated=True), servers.redis()
    with contextlib.ExitStack() as stack:
        stack.callback(servers.drop_database, database_url)
        stack.enter_context(limited_memory(redis_url))
        receiver = stack.enter_context(otlp_receiver())
        settings = {
            "THROUGHLINE_TELEMETRY_ENDPOINT": receiver.endpoint,
            "THROUGHLINE_PIPELINES_MODULES": '["throughline.chaos.flows"]',
        }
        made = stack.enter_context(system(database_url=database_url, redis_url=redis_url, home=home, settings=settings))
        made.start_relay()
        made.start_worker()
        made.start_api()
        addresses = {"throughline-api": [made.api_url.removeprefix("http://")]}
        for name in ("relay", "worker"):
            port = made.services[name]._env[f"THROUGHLINE_{name.upper()}_METRICS_PORT"]
            addresses[f"throughline-{name}"] = [f"127.0.0.1:{port}"]
        load = stack.enter_context(Load(made, home / "ledger"))
        rules = {path.name: path.read_text() for path in RULES.glob("*.yml")}
        asked = stack.enter_context(prometheus(home / "prometheus", targets=addresses, rules=rules))
        yield Watched(made, asked, load, receiver)


@contextlib.contextmanager
def limited_memory(redis_url: str) -> Iterator[None]:
    """Give Redis the limit that every Redis in use has."""
    with contextlib.closing(Redis.from_url(redis_url)) as client:
        before = client.config_get("maxmemory")["maxmemory"]  # type: ignore[index]  # sync client
        client.config_set("maxmemory", "256mb")
        try:
            yield
        finally:
            client.config_set("maxmemory", before)


def shows_something(series: list[dict[str, object]]) -> bool:
    return any(not math.isnan(float(one["value"][1])) for one in series)  # type: ignore[index]  # time and value


def test_every_query_of_every_board_has_something_to_show(watched: Watched) -> None:
    left = {
        target.name: (target.filled(**VALUES), AHEAD.get((target.board, target.panel), 0.0))
        for target in targets()
        if (target.board, target.panel) not in HEALTHY
    }
    assert len(left) > 90

    def all_show() -> bool:
        for name, (expr, ahead) in list(left.items()):
            if shows_something(watched.prometheus.series(expr, ahead=ahead)):
                del left[name]
        return not left

    with contextlib.suppress(AssertionError):
        eventually(all_show, timeout=60, what="something in every panel")
    assert left == {}, watched.system.tails()


def test_what_shows_nothing_while_all_is_well_can_be_asked(watched: Watched) -> None:
    quiet = [target for target in targets() if (target.board, target.panel) in HEALTHY]
    assert {(target.board, target.panel) for target in quiet} == set(HEALTHY)
    for target in quiet:
        watched.prometheus.series(target.filled(**VALUES))


def test_every_variable_offers_something(watched: Watched) -> None:
    for board in BOARDS.values():
        for variable in board["templating"]["list"]:
            if variable["type"] == "query":
                asked = re.fullmatch(r"label_values\((.+), (\w+)\)", filled(variable["definition"]))
                assert asked
                metric, label = asked.groups()
                eventually(
                    lambda metric=metric, label=label: watched.prometheus.label_values(label, metric),
                    what=f"values of {variable['name']} on {board['uid']}",
                )


LATENCIES = {target.name: target.filled(**VALUES) for target in targets() if target.model["exemplar"]}


@pytest.mark.parametrize("name", LATENCIES)
def test_a_latencys_exemplar_is_a_trace_that_the_collector_has_from_the_request_to_the_last_node(
    watched: Watched, name: str
) -> None:
    def exemplars() -> list[str]:
        found = [exemplar["trace_id"] for exemplar in watched.prometheus.exemplars(LATENCIES[name])]
        assert all(re.fullmatch("[0-9a-f]{32}", trace_id) for trace_id in found)
        return [trace_id for trace_id in found if trace_id in watched.load.events]

    trace_id = eventually(exemplars, what=f"an exemplar of {name} that is of an event with runs")[-1]
    event = watched.system.ended(watched.load.events[trace_id])
    attempts = {attempt["span_id"] for run in event["runs"] for attempt in run["attempts"]}
    nodes = {node["span_id"] for run in event["runs"] for node in run["nodes"]} - {None}
    assert attempts
    assert nodes

    def whole(arrived: tuple[SpanRecord, ...]) -> bool:
        spans = [span for span in arrived if span.trace_id == trace_id]
        return attempts | nodes <= {span.span_id for span in spans} and is_connected(spans)

    watched.receiver.wait_until(whole, timeout=30)
    spans = watched.receiver.trace(trace_id)
    assert spans[0].name == "POST /events"
    assert {span.service for span in spans} >= {"throughline-api", "throughline-worker"}


def test_the_runs_that_a_panel_leads_to_are_listed(watched: Watched) -> None:
    pipeline = eventually(
        lambda: watched.prometheus.label_values("pipeline", "throughline_runs_total"), what="a pipeline"
    )[0]
    links = {
        link["url"].replace("${api_url}", watched.system.api_url).replace("${__field.labels.pipeline}", pipeline)
        for board in BOARDS.values()
        for panel in panels(board)
        for link in panel["fieldConfig"]["defaults"]["links"]
        if link["url"].startswith("${api_url}")
    }
    assert len(links) >= 4
    for url in links:
        answer = httpx.get(url, trust_env=False)
        assert answer.status_code == 200, (url, answer.text)
