"""What is written by hand is what the schemas would write."""

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from api.accept import Accepted
from api.presenting import Presenter
from api.problems import Problem, ProblemType, problem_content
from api.schemas import AcceptedBatch, AcceptedEvent
from events import RunStatus, new_id
from settings import ApiSettings
from storage.records import RunSummary, StoredEvent

TRACE = "0af7651916cd43dd8448eb211c80319c"
ODD = 'say "hi" \\ / <é ✓ \U0001f600> {0} %s'


def accepted(
    *runs: RunStatus, created: bool = True, traceparent: str | None = f"00-{TRACE}-b7ad6b7169203331-03"
) -> Accepted:
    event_id = new_id()
    stored = StoredEvent(
        created=created,
        event_id=event_id,
        content_hash=b"",
        received_at=datetime.now(UTC),
        traceparent=traceparent,
        runs=tuple(RunSummary(new_id(), ODD, status) for status in runs),
    )
    return Accepted(stored, str(event_id), ODD, ODD, ODD)


@pytest.mark.parametrize("url", [None, 'http://traces/{trace_id}?"x"'])
@pytest.mark.parametrize("traceparent", [None, f"00-{TRACE}-b7ad6b7169203331-03"])
@pytest.mark.parametrize("runs", [(), (RunStatus.QUEUED,), (RunStatus.SUCCEEDED, RunStatus.FAILED)])
def test_an_accepted_event_is_written_as_its_schema_has_it(
    url: str | None, traceparent: str | None, runs: tuple[RunStatus, ...]
) -> None:
    one = accepted(*runs, traceparent=traceparent)
    written = Presenter(ApiSettings(trace_url_template=url)).accepted(one)
    found = AcceptedEvent.model_validate_json(written)
    assert found.model_dump(mode="json", exclude_unset=True) == json.loads(written)
    assert (found.event_id, found.id, found.source, found.type) == (one.stored.event_id, ODD, ODD, ODD)
    assert [(run.run_id, run.pipeline, run.status) for run in found.runs] == [run[:3] for run in one.stored.runs]
    assert found.trace_id == (TRACE if traceparent else None)
    assert found.links.trace == (f'http://traces/{TRACE}?"x"' if url and traceparent else None)
    assert json.dumps(json.loads(written), separators=(",", ":"), ensure_ascii=False).encode() == written


def test_a_batch_is_written_as_its_schema_has_it() -> None:
    problem = Problem(ProblemType.EVENT_CONFLICT, ODD, members={"event_id": UUID(int=7)})
    answers = [accepted(RunStatus.QUEUED), problem, accepted(RunStatus.RUNNING, created=False)]
    written = Presenter(ApiSettings()).batch(answers)
    AcceptedBatch.model_validate_json(written)
    found = json.loads(written)
    assert [found[name] for name in ("accepted", "duplicates", "refused")] == [1, 1, 1]
    assert [item["status"] for item in found["items"]] == [202, 409, 200]
    assert found["items"][1]["problem"] == problem_content(problem) | {"event_id": str(UUID(int=7))}
    assert json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode() == written
