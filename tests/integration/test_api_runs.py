from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.run_schemas import BulkPurged, BulkReplayed, CancelledRun, ReplayedEvent, ReplayedRun, RunDetail, RunPage
from events import AttemptOutcome, FailureKind, NodeStatus, RunStatus, new_id
from observability.tracing import configure_tracing
from settings import DatabaseSettings, TelemetrySettings
from storage import claims, leases, outcomes
from storage.engine import create_engine, transaction
from storage.records import NodeResult
from tests.support.api import ANY, ISSUE, running_api

NOBODY = "00000000-0000-7000-8000-000000000000"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(DatabaseSettings.model_validate({"url": database_url}), application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running_api(database_url) as client:
        yield client


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    configure_tracing(TelemetrySettings(), service="api", processors=[SimpleSpanProcessor(exporter)])
    return exporter


async def sent(api: httpx.AsyncClient, event: dict[str, Any] = ANY) -> dict[str, Any]:
    body: dict[str, Any] = (await api.post("/events", json=event)).json()
    return body


async def begin(engine: AsyncEngine, run_id: str) -> int:
    lease_id = new_id()
    claim = claims.Claim(tenant="default", run_ids=[UUID(run_id)], span_ids=[None], lease_id=lease_id, task_id=None)
    async with transaction(engine) as connection:
        await leases.open_lease(connection, lease_id=lease_id, worker="test:1", seconds=60)
    async with transaction(engine) as connection:
        [run] = await claims.claim_runs(connection, claim)
    return run.attempt


async def end(engine: AsyncEngine, run_id: str, status: RunStatus, *, node: NodeStatus | None = None) -> None:
    attempt = await begin(engine, run_id)
    results = [] if node is None else [_look(UUID(run_id), attempt, node)]
    finish = outcomes.Finish(
        tenant="default",
        run_id=UUID(run_id),
        attempt=attempt,
        status=status,
        outcome=AttemptOutcome(status.value),
        kind=FailureKind.ERROR if status is RunStatus.FAILED else None,
        error='{"type": "Boom", "message": "no", "traceback": "long"}' if status is RunStatus.FAILED else None,
        nodes=tuple(results),
    )
    async with transaction(engine) as connection:
        assert await outcomes.finish_runs(connection, [finish])


def _look(run_id: UUID, attempt: int, status: NodeStatus) -> outcomes.NodeWrite:
    result = NodeResult(
        node="look",
        item=0,
        attempt=attempt,
        status=status,
        output=None,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.1,
        span_id=None,
    )
    return outcomes.NodeWrite(
        tenant="default", run_id=run_id, attempt=attempt, result=result, output='{"type": "x"}', error=None
    )


async def failed(api: httpx.AsyncClient, engine: AsyncEngine) -> dict[str, Any]:
    event = await sent(api)
    await end(engine, event["runs"][0]["run_id"], RunStatus.FAILED)
    return event


async def status_of(api: httpx.AsyncClient, event: dict[str, Any]) -> str:
    return str((await api.get(f"/events/{event['event_id']}")).json()["status"])


async def test_a_queued_run_is_cancelled_at_once_and_a_second_time_is_a_conflict(api: httpx.AsyncClient) -> None:
    event = await sent(api)
    path = f"/runs/{event['runs'][0]['run_id']}"
    answer = await api.post(f"{path}/cancel", json={"reason": "sent twice"})
    assert answer.status_code == 200
    assert CancelledRun.model_validate_json(answer.content).status is RunStatus.CANCELLED
    run = RunDetail.model_validate_json((await api.get(path)).content)
    assert (run.status, run.cancel_reason, str(run.event_id)) == ("cancelled", "sent twice", event["event_id"])
    again = await api.post(f"{path}/cancel")
    assert (again.status_code, again.json()["type"], again.json()["run_status"]) == (
        409,
        "/problems/run-ended",
        "cancelled",
    )
    assert await status_of(api, event) == "cancelled"


async def test_a_running_run_is_asked_to_end(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    event = await sent(api)
    run_id = event["runs"][0]["run_id"]
    await begin(engine, run_id)
    for _ in range(2):
        answer = await api.post(f"/runs/{run_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "running")
    assert (await api.get(f"/runs/{run_id}")).json()["cancel_requested_at"] is not None


async def test_a_failed_run_is_replayed_once_and_the_event_has_its_replays_status(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    event = await failed(api, engine)
    origin = event["runs"][0]["run_id"]
    assert await status_of(api, event) == "failed"
    answer = await api.post(f"/runs/{origin}/replay")
    assert answer.status_code == 202
    made = ReplayedRun.model_validate_json(answer.content)
    assert (str(made.replay_of), made.pipeline) == (origin, "audit")
    assert await status_of(api, event) == "queued"
    again = await api.post(f"/runs/{origin}/replay")
    assert (again.status_code, again.json()["type"], again.json()["replayed_by"]) == (
        409,
        "/problems/not-replayable",
        str(made.run_id),
    )
    await end(engine, str(made.run_id), RunStatus.SUCCEEDED)
    assert await status_of(api, event) == "succeeded"
    listed = (await api.get("/events", params={"status": "succeeded"})).json()["items"]
    assert [item["event_id"] for item in listed] == [event["event_id"]]
    assert (await api.post("/events", json=ANY | {"id": event["id"]})).json()["status"] == "succeeded"


async def test_a_replay_has_a_trace_of_its_own_linked_to_its_origins_and_found_from_the_request(
    database_url: str, engine: AsyncEngine, spans: InMemorySpanExporter
) -> None:
    async with running_api(database_url) as api:
        event = await failed(api, engine)
        made = (await api.post(f"/runs/{event['runs'][0]['run_id']}/replay")).json()
        story = (await api.get(made["links"]["self"])).json()
    assert story["trace_id"] == made["trace_id"] != event["trace_id"]
    [replay] = [span for span in spans.get_finished_spans() if span.name == "replay"]
    assert format(replay.context.trace_id, "032x") == made["trace_id"]
    assert replay.parent is None
    assert [(format(link.context.trace_id, "032x"), link.attributes) for link in replay.links] == [
        (event["trace_id"], {"throughline.link": "replay_of"})
    ]
    [request] = [span for span in spans.get_finished_spans() if span.name == "POST /runs/{run_id}/replay"]
    assert [link.context.span_id for link in request.links] == [replay.context.span_id]


async def test_a_replay_begins_at_a_node_that_the_pipeline_has_and_the_run_came_to(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    event = await sent(api)
    run_id = event["runs"][0]["run_id"]
    await end(engine, run_id, RunStatus.FAILED, node=NodeStatus.SKIPPED)
    for node, message in (("nothing", "it has look"), ("look", "did not lead to this node")):
        answer = await api.post(f"/runs/{run_id}/replay", json={"from": node})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "from")
        assert message in answer.json()["errors"][0]["message"]
    other = await failed(api, engine)
    made = (await api.post(f"/runs/{other['runs'][0]['run_id']}/replay", json={"from": "look"})).json()
    assert (await api.get(f"/runs/{made['run_id']}")).json()["replay_from"] == "look"


async def test_what_has_not_ended_is_not_replayed(api: httpx.AsyncClient) -> None:
    event = await sent(api)
    for path in (f"/runs/{event['runs'][0]['run_id']}/replay", f"/events/{event['event_id']}/replay"):
        answer = await api.post(path)
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/not-replayable")


async def test_an_event_is_replayed_for_every_pipeline_of_its_type(api: httpx.AsyncClient, engine: AsyncEngine) -> None:
    event = await sent(api, ISSUE)
    for run, status in zip(event["runs"], (RunStatus.FAILED, RunStatus.SUCCEEDED), strict=True):
        await end(engine, run["run_id"], status)
    answer = await api.post(f"/events/{event['event_id']}/replay")
    made = ReplayedEvent.model_validate_json(answer.content)
    assert answer.status_code == 202
    assert {(run.pipeline, str(run.replay_of)) for run in made.runs} == {
        (run["pipeline"], run["run_id"]) for run in event["runs"]
    }
    assert await status_of(api, event) == "queued"


async def test_an_unrouted_event_is_routed_by_its_replay_once_a_pipeline_takes_its_type(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    event = await sent(api, {"type": "nobody.knows", "data": {}})
    refused = await api.post(f"/events/{event['event_id']}/replay")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-replayable")
    async with transaction(engine) as connection:
        await connection.execute(text("UPDATE events SET type = 'test.any.thing'"))
    made = (await api.post(f"/events/{event['event_id']}/replay")).json()
    assert [(run["pipeline"], run["replay_of"]) for run in made["runs"]] == [("audit", None)]
    assert await status_of(api, event) == "queued"
    assert (await api.get("/events", params={"status": "unrouted"})).json()["items"] == []


async def test_dead_runs_are_looked_at_first_and_then_replayed_up_to_a_limit(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    dead = [(await failed(api, engine))["runs"][0]["run_id"] for _ in range(3)]
    wanted = {"pipeline": "audit", "type": ANY["type"], "failure_kind": "error"}
    look = await api.post("/runs/replay", json=wanted | {"dry_run": True})
    found = BulkReplayed.model_validate_json(look.content)
    assert (look.status_code, found.matching, found.replayed) == (200, 3, 0)
    assert [str(run_id) for run_id in found.sample] == dead
    parameters = {"status": "failed", "replayed": "false"}
    assert len((await api.get("/runs", params=parameters)).json()["items"]) == 3

    done = (await api.post("/runs/replay", json=wanted | {"limit": 2, "dry_run": False})).json()
    assert (done["dry_run"], done["matching"], done["replayed"], done["sample"]) == (False, 3, 2, dead[:2])
    left = RunPage.model_validate_json((await api.get("/runs", params=parameters)).content)
    assert [str(item.run_id) for item in left.items] == dead[2:]
    assert left.items[0].error == {"type": "Boom", "message": "no"}
    assert (await api.post("/runs/replay", json={"dry_run": False})).json()["replayed"] == 1
    assert (await api.post("/runs/replay", json={"dry_run": False})).json()["replayed"] == 0


async def test_dead_runs_are_looked_at_first_and_then_purged_with_their_events(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    events = [await failed(api, engine) for _ in range(3)]
    dead = [event["runs"][0]["run_id"] for event in events]
    alive = await sent(api)
    wanted = {"pipeline": "audit", "type": ANY["type"], "failure_kind": "error"}
    look = await api.post("/runs/purge", json=wanted | {"dry_run": True})
    found = BulkPurged.model_validate_json(look.content)
    assert (look.status_code, found.matching, found.purged, found.kept) == (200, 3, 0, 0)
    assert [str(run_id) for run_id in found.sample] == dead
    assert (await api.get(f"/events/{events[0]['event_id']}")).status_code == 200

    done = (await api.post("/runs/purge", json=wanted | {"limit": 2, "dry_run": False})).json()
    assert (done["matching"], done["purged"], done["events"], done["runs"]) == (3, 2, 2, 2)
    assert done["sample"] == dead[:2]
    assert [(await api.get(f"/events/{event['event_id']}")).status_code for event in events] == [404, 404, 200]
    gone = {"pipeline": "gone", "dry_run": False}
    assert (await api.post("/runs/purge", json=gone)).json()["matching"] == 0
    assert (await api.post("/runs/purge", json={"dry_run": False})).json()["purged"] == 1
    assert await status_of(api, alive) == "queued"


async def test_a_mistake_in_several_fields_is_told_of_each(api: httpx.AsyncClient) -> None:
    answer = (await api.post("/runs/replay", json={"limit": 0, "after": "yesterday", "who": 1})).json()
    fields = [error["field"] for error in answer["errors"]]
    assert sorted(fields) == ["after", "dry_run", "limit", "who"]
    assert answer["detail"] == "; ".join(f"{error['field']}: {error['message']}" for error in answer["errors"])
    many = {"dry_run": True} | {f"f{number}": 1 for number in range(30)}
    assert (await api.post("/runs/replay", json=many)).json()["detail"].endswith("; and 20 more")


async def test_dead_runs_of_a_pipeline_that_the_api_has_not_loaded_are_told_and_left_out(
    api: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    for _ in range(3):
        await failed(api, engine)
    async with transaction(engine) as connection:
        await connection.execute(
            text("UPDATE runs SET pipeline = 'gone' WHERE run_id = (SELECT max(run_id::text)::uuid FROM runs)")
        )
    look = (await api.post("/runs/replay", json={"dry_run": True})).json()
    assert (look["matching"], look["left_out"], len(look["sample"])) == (2, {"gone": 1}, 2)
    done = (await api.post("/runs/replay", json={"dry_run": False})).json()
    assert (done["matching"], done["replayed"], done["left_out"]) == (2, 2, {"gone": 1})
    asked = (await api.post("/runs/replay", json={"dry_run": True, "pipeline": "gone"})).json()
    assert (
        asked["detail"]
        == "pipeline: the API has not loaded this pipeline; name its module in THROUGHLINE_PIPELINES_MODULES"
    )


async def test_runs_are_listed_in_pages(api: httpx.AsyncClient) -> None:
    made = [(await sent(api))["runs"][0]["run_id"] for _ in range(5)]
    seen: list[str] = []
    path: str | None = "/runs?pipeline=audit&limit=2"
    while path:
        page = (await api.get(path)).json()
        seen += [item["run_id"] for item in page["items"]]
        path = page["links"]["next"]
    assert seen == made[::-1]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("GET", f"/runs/{NOBODY}", None, 404, "run-not-found"),
        ("GET", "/runs/x", None, 422, "invalid-request"),
        ("GET", "/runs?status=dead", None, 422, "invalid-request"),
        ("POST", f"/runs/{NOBODY}/cancel", None, 404, "run-not-found"),
        ("POST", f"/runs/{NOBODY}/cancel", b'{"reason": "\\u0000"}', 422, "invalid-request"),
        ("POST", f"/runs/{NOBODY}/cancel", b'{"because": "x"}', 422, "invalid-request"),
        ("POST", f"/runs/{NOBODY}/cancel", b"[]", 422, "invalid-request"),
        ("POST", f"/runs/{NOBODY}/cancel", b"{", 400, "malformed-json"),
        ("POST", f"/runs/{NOBODY}/replay", None, 404, "run-not-found"),
        ("POST", f"/events/{NOBODY}/replay", None, 404, "event-not-found"),
        ("POST", "/runs/purge", None, 422, "invalid-request"),
        ("POST", "/runs/purge", b"{}", 422, "invalid-request"),
        ("POST", "/runs/purge", b'{"dry_run": 1}', 422, "invalid-request"),
        ("POST", "/runs/replay", b'{"limit": 0}', 422, "invalid-request"),
        ("POST", "/runs/replay", b'{"after": "yesterday"}', 422, "invalid-request"),
        ("POST", "/runs/replay", b'{"pipeline": "none"}', 422, "invalid-request"),
        ("POST", "/runs/replay", b'{"dry_run": "yes"}', 422, "invalid-request"),
        ("POST", "/runs/replay", b"{}", 422, "invalid-request"),
        ("POST", "/runs/replay", b"", 422, "invalid-request"),
    ],
)
async def test_a_mistake_is_answered_with_its_problem(
    api: httpx.AsyncClient, method: str, path: str, body: bytes | None, status: int, problem: str
) -> None:
    headers = {"content-type": "application/json"} if body else {}
    answer = await api.request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
