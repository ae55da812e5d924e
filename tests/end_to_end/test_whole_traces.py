"""Traces stay whole: nothing that ended is without its span, whatever was killed."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.otlp import OtlpReceiver
from tests.support.system import System, eventually
from tests.support.whole_traces import Spans, committed_nodes, ended_attempts, read, traces_of_events

EVENTS = 1000
SENDERS = 8
REPLAYS = 20
FLOWS = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]', "THROUGHLINE_WORKER_LEASE": "3"}
CALLER = "00f067aa0ba902b7"


def event(number: int, ledger: Path) -> tuple[dict[str, object], dict[str, str]]:
    """One event of many, and its headers: some fail once and are tried again, some for good, some have a caller."""
    kind = "refusing" if number % 20 == 7 else "steady"
    data = {"log": str(ledger), "sleep": 0.02 * (number % 5), "fail_attempts": int(number % 10 == 3)}
    body = {"type": f"test.{kind}", "source": "whole", "id": str(number), "data": data}
    return body, {"traceparent": f"00-{number + 1:032x}-{CALLER}-01"} if number % 50 == 11 else {}


@contextmanager
def sending(url: str, ledger: Path) -> Iterator[Counter[int]]:
    """POST all events from threads while the block lasts; at its end all are answered. Counts the answers."""
    answers: Counter[int] = Counter()
    left, lock = iter(range(EVENTS)), threading.Lock()

    def work() -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            while True:
                with lock:
                    number = next(left, None)
                if number is None:
                    return
                body, headers = event(number, ledger)
                status = client.post("/events", json=body, headers=headers).status_code
                with lock:
                    answers[status] += 1

    threads = [threading.Thread(target=work) for _ in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        for thread in threads:
            thread.join()


def count(url: str, condition: str) -> int:
    return int(asyncio.run(read(url, f"SELECT count(*) AS n FROM {condition}"))[0]["n"])


def start_workers(whole: System) -> None:
    for number in (1, 2):
        whole.start_worker(f"worker-{number}", **FLOWS)


def kill_in_the_middle(whole: System, url: str) -> None:
    """SIGKILL a worker that has just finished runs and has others under way."""
    eventually(
        lambda: count(url, "runs WHERE finished_at IS NOT NULL") > EVENTS / 5, timeout=60, what="some runs ended"
    )
    whole.services.pop("worker-1").kill()
    assert count(url, "runs WHERE finished_at IS NULL") > 0, "it was killed after everything had ended"


def replay_some(whole: System, url: str) -> None:
    rows = asyncio.run(
        read(url, f"SELECT run_id, status FROM runs WHERE replay_of IS NULL ORDER BY status, run_id LIMIT {REPLAYS}")
    )
    for number, row in enumerate(rows):
        body = {"from": "slow"} if row["status"] == "succeeded" and number % 2 else None
        answer = httpx.post(f"{whole.api_url}/runs/{row['run_id']}/replay", json=body, timeout=10, trust_env=False)
        assert answer.status_code == 202, answer.text


def all_ended(url: str, *, replays: int = 0) -> None:
    eventually(
        lambda: count(url, "runs WHERE finished_at IS NOT NULL") == EVENTS + replays, timeout=90, what="all runs ended"
    )


def no_holes(url: str, receiver: OtlpReceiver) -> dict[str, list[str]]:
    """What isn't whole, by what is wrong with it."""
    spans = Spans(receiver.spans)
    attempts, nodes = asyncio.run(ended_attempts(url)), asyncio.run(committed_nodes(url))
    events = asyncio.run(traces_of_events(url))
    recovered = sum("throughline.recovered" in span.attributes for span in spans.by_key.values())
    print(  # noqa: T201 - what was compared belongs to the proof
        f"{len(spans.by_key)} spans, {recovered} of them only as recovered, {len(spans.twice)} came twice; "
        f"{len(events)} events, {len(attempts)} attempts, {len(nodes)} nodes"
    )
    assert len(events) == EVENTS
    strangers = [span for span in spans.twice if "throughline.recovered" not in span.attributes]
    return {
        "orphans": spans.orphans(but=frozenset({CALLER})),
        "attempts without a span": spans.missing(attempts),
        "nodes without a span": spans.missing(nodes),
        "events in pieces": spans.in_pieces(events),
        "traces with several roots": [t for traces in events.values() for t in traces if len(spans.roots(t)) != 1],
        "retries without a link": spans.unlinked_retries(attempts),
        "attempts apart from their message": spans.not_with_their_message(attempts),
        "links to nothing": spans.loose_links(),
        "spans twice": [f"{span.service}:{span.name}" for span in strangers],
    }


def nothing(found: Mapping[str, list[str]]) -> None:
    """Fail with what was found."""
    holes = [f"{what}: {len(names)}, such as {names[:5]}" for what, names in found.items() if names]
    assert not holes, "\n".join(holes)


@pytest.mark.verify
@pytest.mark.timeout(240)
@pytest.mark.parametrize("together", [1, 50])
def test_with_a_worker_killed_every_events_spans_are_one_structure_and_all_that_ended_has_its_span(
    whole: System, receiver: OtlpReceiver, database_url: str, tmp_path: Path, together: int
) -> None:
    ledger = tmp_path / "ledger"
    relay = FLOWS | {"THROUGHLINE_RELAY_MESSAGE_MAX_RUNS": str(together), "THROUGHLINE_RELAY_SINGLE_BELOW": "1"}
    whole.start_api(**FLOWS)
    with sending(whole.api_url, ledger) as answers:
        start_workers(whole)
        if together > 1:  # a backlog gathers first, so that messages are full
            eventually(lambda: count(database_url, "runs") == EVENTS, timeout=60, what="the backlog")
        whole.start_relay(**relay)
        kill_in_the_middle(whole, database_url)
    assert answers == {202: EVENTS}
    all_ended(database_url)
    replay_some(whole, database_url)
    all_ended(database_url, replays=REPLAYS)
    eventually(
        lambda: any(line.get("event") == "spans of dead processes are made again" for line in whole.lines("relay")),
        what="the relay makes spans again",
    )
    largest = asyncio.run(
        read(database_url, "SELECT max(n) AS n FROM (SELECT count(*) AS n FROM attempts GROUP BY task_id) AS m")
    )
    assert largest[0]["n"] == together
    assert count(database_url, "attempts WHERE outcome = 'lost'") > 0
    assert count(database_url, "attempts WHERE outcome = 'retried'") > 0
    whole.stop()
    nothing(no_holes(database_url, receiver))
