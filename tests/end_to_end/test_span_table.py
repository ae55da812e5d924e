"""docs/tracing.md names every span, attribute and link that the processes make, and nothing that they don't."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.otlp import OtlpReceiver, SpanRecord
from tests.support.system import ROOT, System, eventually
from throughline.embedded import free_port

PAGE = ROOT / "docs" / "tracing.md"
FLOWS = {
    "THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]',
    "THROUGHLINE_WORKER_LEASE": "2",
    "THROUGHLINE_RELAY_SINGLE_BELOW": "2",
}
NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/nowhere"
_CODE = re.compile(r"`([^`]+)`")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the page."""
    below = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def span_name(span: SpanRecord) -> str:
    """The name as the page has it, with its variable part."""
    if span.kind == "server":
        return "{method} {route}"
    if "throughline.node" in span.attributes:
        return "{node}"
    return re.sub(r"^process .*", "process {pipeline}", span.name)


def event(ledger: Path, number: int, **data: object) -> dict[str, object]:
    return {"type": "test.steady", "source": "table", "id": str(number), "data": {"log": str(ledger), **data}}


def begun(ledger: Path, event_of: Mapping[str, Any]) -> bool:
    """Say whether the event's run is in its slow node."""
    (run,) = event_of["runs"]
    return ledger.exists() and any(line.startswith(f"{run['run_id']} slow") for line in ledger.read_text().splitlines())


def ordinary(whole: System, ledger: Path) -> None:
    """Alone, in an array, tried again, failed for good, replayed, waited for and waiting."""
    posted = [whole.post(event(ledger, 1)), whole.post(event(ledger, 2, fail_attempts=1))]
    posted.append(whole.post({**event(ledger, 3), "type": "test.refusing"}))
    posted.append(whole.post({**event(ledger, 7), "type": "test.patient"}))
    posted.append(whole.post({"type": "test.paid", "source": "table", "id": "paid", "data": {"order": 0}}))
    with httpx.Client(base_url=whole.api_url, timeout=10, trust_env=False) as client:
        answer = client.post("/events", json=[event(ledger, number) for number in range(10, 90)])
        assert answer.status_code in {200, 202, 207}, answer.text
        failed = whole.ended(posted[2]["event_id"])["runs"][0]["run_id"]
        replayed = client.post(f"/runs/{failed}/replay").json()
        assert replayed["replay_of"] == failed
    for item in posted:
        whole.ended(item["event_id"])


def cancelled(whole: System, ledger: Path) -> None:
    posted = whole.post(event(ledger, 4, sleep=60))
    eventually(lambda: begun(ledger, posted), what="the run that is to be cancelled is under way")
    httpx.post(f"{whole.api_url}/runs/{posted['runs'][0]['run_id']}/cancel", timeout=10, trust_env=False)
    assert whole.ended(posted["event_id"])["status"] == "cancelled"


def lost(whole: System, ledger: Path) -> None:
    """A worker is killed in mid-node; another takes over."""
    posted = whole.post(event(ledger, 5, sleep=3))
    eventually(lambda: begun(ledger, posted), what="the run that is to be lost is under way")
    whole.services.pop("worker").kill()
    whole.start_worker("worker-2", **FLOWS)
    assert whole.ended(posted["event_id"])["status"] == "succeeded"


def refused(whole: System, ledger: Path) -> None:
    """An API without its database answers 503."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    settings = FLOWS | {"THROUGHLINE_API_PORT": str(port), "THROUGHLINE_DATABASE_URL": NOWHERE}
    whole.start("api-alone", ready=f"{url}/health/live", **settings)
    assert httpx.post(f"{url}/events", json=event(ledger, 6), timeout=10, trust_env=False).status_code == 503


@pytest.fixture
def spans(whole: System, receiver: OtlpReceiver, tmp_path: Path) -> Sequence[SpanRecord]:
    """Every span of a life with all that can happen to an event."""
    whole.start_relay(**FLOWS)
    whole.start_worker(**FLOWS)
    whole.start_api(**FLOWS)
    for flow in (ordinary, cancelled, lost, refused):
        flow(whole, tmp_path / "ledger")
    eventually(
        lambda: any(line.get("event") == "spans of dead processes are made again" for line in whole.lines("relay")),
        what="the lost attempt's spans",
    )
    whole.stop()
    return receiver.spans


def documented(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Pairs of a span's name and what the row's first cell names."""
    for named, on, *_ in rows:
        for span in _CODE.findall(on):
            yield span, _CODE.findall(named)[0]


def agree(made: set[tuple[str, str]], named: set[tuple[str, str]]) -> None:
    """Fail with all that is made and not named on the page, and the other way round."""
    found = {"made and not on the page": sorted(made - named), "on the page and never made": sorted(named - made)}
    assert not any(found.values()), "\n".join(f"{what}: {pairs}" for what, pairs in found.items())


def test_every_span_attribute_and_link_is_on_the_page_and_the_page_names_no_others(
    spans: Sequence[SpanRecord],
) -> None:
    kinds, makers, attributes, links = set(), defaultdict(set), set(), set()
    for span in spans:
        name = span_name(span)
        kinds.add((name, span.kind))
        attributes |= {(name, attribute) for attribute in span.attributes}
        attributes |= {(name, attribute) for event in span.events for attribute in event.attributes}
        links |= {(name, str(link.attributes["throughline.link"])) for link in span.links}
        if "throughline.recovered" not in span.attributes:
            makers[name].add(span.service.removeprefix("throughline-"))
    rows = [(_CODE.findall(row[0])[0], row[1], row[2]) for row in table("Spans")]
    agree(kinds, {(name, kind) for name, kind, _ in rows})
    assert dict(makers) == {name: {maker} for name, _, maker in rows}
    agree(attributes, set(documented(table("Attributes"))))
    agree(links, set(documented(table("Links"))))
