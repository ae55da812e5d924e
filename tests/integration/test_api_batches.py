"""Several events in one request: each is answered on its own."""

import asyncio
import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from api.pending import Unstorable
from api.schemas import AcceptedBatch
from observability import attributes
from observability.tracing import configure_tracing
from settings import TelemetrySettings
from storage.records import StoredEvent
from tests.support.api import ANY, ISSUE, make_app, new_event, running_api

JSON = {"Content-Type": "application/json"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def statuses(body: dict[str, Any]) -> list[int]:
    return [item["status"] for item in body["items"]]


async def test_each_event_of_a_batch_is_answered_on_its_own_in_the_order_sent(database_url: str) -> None:
    sent = [
        ISSUE | {"id": "new"},
        {"type": "test.issue", "data": {}},
        ANY | {"id": "known"},
        ANY | {"id": "known-with-other-content"},
        {"type": "nobody.knows", "data": 1},
        7,
        {"type": "a", "data": "\0"},
    ]
    async with running_api(database_url) as client:
        known = (await client.post("/events", json=ANY | {"id": "known"})).json()
        await client.post("/events", json=ANY | {"id": "known-with-other-content", "subject": "other"})
        answer = await client.post("/events", json=sent)
        body = answer.json()
        AcceptedBatch.model_validate_json(answer.content)
        assert answer.status_code == 202
        assert statuses(body) == [202, 422, 200, 409, 202, 422, 422]
        assert (body["accepted"], body["duplicates"], body["refused"]) == (2, 1, 4)
        assert body["items"][2]["event"] == known
        assert body["items"][1]["problem"]["errors"][0]["field"] == "data.issue"
        assert body["items"][3]["problem"]["type"] == "/problems/event-conflict"
        story = (await client.get(f"/events/{body['items'][0]['event']['event_id']}")).json()
        assert (story["id"], story["trace_id"]) == ("new", body["items"][0]["event"]["trace_id"])
        assert len((await client.get("/events")).json()["items"]) == 4


async def test_of_two_with_one_key_in_a_batch_the_first_is_stored(database_url: str) -> None:
    sent = [ANY | {"id": "1"}, ANY | {"id": "1"}, ANY | {"id": "1", "subject": "other"}]
    async with running_api(database_url) as client:
        body = (await client.post("/events", json=sent)).json()
        assert statuses(body) == [202, 200, 409]
        assert len({body["items"][place]["event"]["event_id"] for place in (0, 1)}) == 1
        assert len((await client.get("/events")).json()["items"]) == 1


async def test_a_batch_sent_again_is_a_200_with_what_is_there(database_url: str) -> None:
    sent = [ANY | {"id": str(number)} for number in range(100)]
    async with running_api(database_url) as client:
        first = await client.post("/events", json=sent)
        again = await client.post("/events", json=sent)
    assert (first.status_code, again.status_code) == (202, 200)
    assert statuses(again.json()) == [200] * 100
    assert [item["event"] for item in again.json()["items"]] == [item["event"] for item in first.json()["items"]]


async def test_a_batch_of_which_nothing_stands_is_a_problem_with_every_items_answer(database_url: str) -> None:
    async with running_api(database_url) as client:
        await client.post("/events", json=ANY | {"id": "1"})
        answer = await client.post("/events", json=[{"type": "a"}, ANY | {"id": "1", "subject": "other"}])
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/invalid-event"
        assert statuses(answer.json()) == [422, 409]
        assert len((await client.get("/events")).json()["items"]) == 1


async def test_a_batch_shares_few_commits(database_url: str) -> None:
    async with running_api(database_url) as client:
        assert (await client.post("/events", json=[ANY] * 200)).status_code == 202
        metrics = (await client.get("/metrics")).text
    assert float(metrics.split("throughline_ingest_flush_events_count ")[1].split("\n")[0]) <= 2


@pytest.mark.parametrize(
    ("body", "status"), [([], 422), ([ANY] * 6, 413), ([ANY | {"data": {"x": "x" * 2000}}], 413), ([[ANY]], 422)]
)
async def test_an_empty_or_too_large_batch_is_refused_as_a_whole(
    database_url: str, body: list[Any], status: int
) -> None:
    async with running_api(database_url, batch_max_events=5, max_body_bytes=1000) as client:
        answer = await client.post("/events", content=json.dumps(body), headers=JSON)
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/events")).json()["items"] == []


async def test_one_row_of_a_batch_that_postgresql_refuses_fails_alone(database_url: str) -> None:
    """Should one ever pass the API's own checks."""
    app = make_app(database_url)
    async with app.router.lifespan_context(app):
        batch = [new_event("{}") for _ in range(50)]
        batch[17] = new_event('"\\u0000"')
        results = await app.state.services.commits.store_all(batch)
    assert isinstance(results.pop(17), Unstorable)
    assert all(isinstance(result, StoredEvent) and result.created for result in results)


async def test_what_finds_no_place_in_the_queue_is_told_to_come_back(database_url: str) -> None:
    """The rest of its batch is stored all the same."""
    async with running_api(database_url, flush_queue_max=3) as client:
        answer = await client.post("/events", json=[ANY] * 5)
        assert statuses(answer.json()) == [202, 202, 202, 503, 503]
        assert answer.json()["items"][3]["problem"]["type"] == "/problems/overloaded"
        assert len((await client.get("/events")).json()["items"]) == 3


async def test_who_leaves_while_a_batch_waits_takes_it_along(database_url: str) -> None:
    app = make_app(database_url)
    async with app.router.lifespan_context(app):
        commits = app.state.services.commits
        storing = asyncio.gather(commits.store_all([new_event("{}") for _ in range(50)]))
        await asyncio.sleep(0)
        storing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await storing
        assert (await commits.store(new_event("{}"))).created
        assert (commits.waiting, commits._bytes) == (0, 0)


async def test_each_event_of_a_batch_has_a_trace_of_its_own_linked_to_the_requests(database_url: str) -> None:
    exporter = InMemorySpanExporter()
    configure_tracing(TelemetrySettings(), service="api", processors=[SimpleSpanProcessor(exporter)])
    async with running_api(database_url) as client:
        headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        body = (await client.post("/events", json=[ANY, ANY, {"type": "a"}], headers=headers)).json()
    spans = exporter.get_finished_spans()
    (request,) = [span for span in spans if span.name == "POST /events"]
    accepts = [span for span in spans if span.name == "accept"]
    assert request.attributes is not None
    assert request.attributes[attributes.EVENTS] == 3
    assert trace_of(request) == TRACE
    assert [trace_of(span) for span in accepts] == [item["event"]["trace_id"] for item in body["items"][:2]]
    assert len({TRACE, *map(trace_of, accepts)}) == 3
    for span in accepts:
        assert span.parent is None
        assert [link.context.span_id for link in span.links] == [request.context.span_id if request.context else None]


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"
