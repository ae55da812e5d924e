import asyncio
from datetime import datetime, timedelta

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from api.schemas import AcceptedEvent
from observability.tracing import configure_tracing, trace_id_of
from settings import DatabaseSettings, TelemetrySettings
from storage.wake import WakeListener
from tests.support.api import ANY, ISSUE, running_api

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_an_event_is_answered_with_its_runs_and_where_to_follow_it(
    database_url: str, spans: InMemorySpanExporter
) -> None:
    del spans
    async with running_api(database_url, trace_url_template="http://traces/{trace_id}") as client:
        answer = await client.post("/events", json=ISSUE | {"id": "d-1", "source": "/shop"})
        body = answer.json()
        AcceptedEvent.model_validate_json(answer.content)
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/events/{body['event_id']}"
        assert answer.headers["cache-control"] == "no-store"
        assert (body["id"], body["source"], body["type"], body["status"]) == ("d-1", "/shop", "test.issue", "queued")
        assert {(run["pipeline"], run["status"]) for run in body["runs"]} == {("issues", "queued"), ("audit", "queued")}
        assert body["links"]["trace"] == f"http://traces/{int(body['trace_id'], 16):032x}"

        story = (await client.get(answer.headers["location"])).json()
    assert story["data"] == ISSUE["data"]
    assert story["trace_id"] == body["trace_id"] == trace_id_of(story["traceparent"])
    assert {(run["pipeline"], run["pipeline_version"], run["queue"], run["reason"]) for run in story["runs"]} == {
        ("issues", 3, "default", "accepted"),
        ("audit", 1, "audit", "accepted"),
    }


async def test_an_event_without_id_and_source_gets_both(database_url: str) -> None:
    async with running_api(database_url) as client:
        body = (await client.post("/events/", json=ANY)).json()
        assert (body["id"], body["source"]) == (body["event_id"], "throughline")
        assert (await client.post("/events", json=ANY)).json()["event_id"] != body["event_id"]


async def test_an_event_that_no_pipeline_takes_is_accepted_as_unrouted(database_url: str) -> None:
    async with running_api(database_url) as client:
        answer = await client.post("/events", json={"type": "nobody.knows", "data": [1, None, "ü"]})
        assert (answer.status_code, answer.json()["status"], answer.json()["runs"]) == (202, "unrouted", [])
        listed = (await client.get("/events", params={"status": "unrouted"})).json()
        assert [item["event_id"] for item in listed["items"]] == [answer.json()["event_id"]]


async def test_data_comes_back_as_it_was_sent(database_url: str) -> None:
    data = {"big": 2**100, "ünïcödé 🎉": ["\u2028", "\x7f", "\\u0000"], "n": [1.5, -0.1, 5e-324], "": {}, "x": None}
    async with running_api(database_url) as client:
        answer = await client.post("/events", json={"type": "x", "data": data, "time": "2026-11-23T08:30:00.25+02:00"})
        story = (await client.get(answer.headers["location"])).json()
    assert story["data"] == data
    assert story["time"] == "2026-11-23T06:30:00.250000Z"


async def test_the_same_event_again_is_answered_with_what_is_there(database_url: str) -> None:
    event = ISSUE | {"id": "1"}
    async with running_api(database_url) as client:
        first = await client.post("/events", json=event)
        again = await client.post("/events", json=dict(reversed(event.items())))
        assert (first.status_code, again.status_code) == (202, 200)
        assert again.json() == first.json()
        assert again.headers["location"] == first.headers["location"]
        elsewhere = await client.post("/events", json=event | {"source": "/elsewhere"})
        assert elsewhere.status_code == 202


@pytest.mark.parametrize("change", [{"data": {"issue": {"number": 8, "title": "x"}}}, {"subject": "s"}])
async def test_another_event_under_the_same_key_is_a_conflict_that_names_the_first(
    database_url: str, change: dict[str, object]
) -> None:
    async with running_api(database_url) as client:
        first = await client.post("/events", json=ISSUE | {"id": "1"})
        other = await client.post("/events", json=ISSUE | {"id": "1"} | change)
        assert (other.status_code, other.headers["location"]) == (409, first.headers["location"])
        assert other.json()["type"] == "/problems/event-conflict"
        assert other.json()["event_id"] == first.json()["event_id"]
        assert (await client.get(first.headers["location"])).json()["data"] == ISSUE["data"]


async def test_fifty_at_once_under_one_key_make_one_event(database_url: str) -> None:
    async with running_api(database_url, flush_max_rows=8, flushers=4) as client:
        answers = await asyncio.gather(*(client.post("/events", json=ISSUE | {"id": "1"}) for _ in range(50)))
        assert sorted(answer.status_code for answer in answers) == [200] * 49 + [202]
        assert len({answer.json()["event_id"] for answer in answers}) == 1
        assert len((await client.get("/events")).json()["items"]) == 1


async def test_a_crowd_shares_commits_and_every_one_is_stored(database_url: str) -> None:
    async with running_api(database_url) as client:
        answers = await asyncio.gather(*(client.post("/events", json=ANY | {"id": str(n)}) for n in range(300)))
        assert {answer.status_code for answer in answers} == {202}
        metrics = (await client.get("/metrics")).text
        flushes = float(metrics.split("throughline_ingest_flush_events_count ")[1].split("\n")[0])
        assert flushes < 100
        assert 'throughline_events_total{outcome="accepted",type="test.any.*"} 300.0' in metrics
        found = set()
        link = "/events?limit=70&type=test.any.thing"
        while link:
            page = (await client.get(link)).json()
            found |= {item["id"] for item in page["items"]}
            link = page["links"]["next"]
    assert found == {str(n) for n in range(300)}


async def test_pages_are_newest_first_without_gap_or_repeat_while_events_come_in(database_url: str) -> None:
    async with running_api(database_url) as client:
        sent = [(await client.post("/events", json=ANY)).json()["event_id"] for _ in range(5)]
        first = (await client.get("/events", params={"limit": 2})).json()
        await client.post("/events", json=ANY)
        second = (await client.get(first["links"]["next"])).json()
        third = (await client.get(second["links"]["next"])).json()
    listed = [item["event_id"] for page in (first, second, third) for item in page["items"]]
    assert listed == sent[::-1]
    assert (third["next_cursor"], third["links"]["next"]) == (None, None)


async def test_events_are_found_by_what_they_are(database_url: str) -> None:
    async with running_api(database_url) as client:
        issue = (await client.post("/events", json=ISSUE | {"source": "/a"})).json()
        thing = (await client.post("/events", json=ANY | {"source": "/b?c=ä&d".replace("ä", "%C3%A4")})).json()
        at = datetime.fromisoformat((await client.get("/events")).json()["items"][0]["received_at"])
        soon, past = (at + timedelta(seconds=1)).isoformat(), (at - timedelta(hours=1)).isoformat()
        for params, expected in (
            ({"type": "test.issue"}, [issue]),
            ({"source": "/b?c=%C3%A4&d"}, [thing]),
            ({"pipeline": "issues"}, [issue]),
            ({"status": "queued"}, [thing, issue]),
            ({"status": "failed"}, []),
            ({"after": soon}, []),
            ({"after": past, "before": soon}, [thing, issue]),
            ({"before": past}, []),
        ):
            items = (await client.get("/events", params=params)).json()["items"]
            assert [item["event_id"] for item in items] == [event["event_id"] for event in expected], params


async def test_an_unknown_event_is_not_found(database_url: str) -> None:
    async with running_api(database_url) as client:
        answer = await client.get("/events/01a20ad3-b7f0-7065-89c9-5e21211fd5d8")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/event-not-found")


async def test_relays_are_woken_after_the_commit(database_url: str) -> None:
    woken = asyncio.Event()
    database = DatabaseSettings(url=SecretStr(database_url))
    listener = WakeListener(database, application="test", on_wake=woken.set)
    await listener.ensure()
    woken.clear()
    async with running_api(database_url) as client:
        await client.post("/events", json=ISSUE)
        async with asyncio.timeout(5):
            await woken.wait()
    await listener.close()


async def test_readiness_needs_a_migrated_database(database_url: str, empty_database_url: str) -> None:
    async with running_api(database_url) as client:
        assert (await client.get("/health/ready")).json() == {"status": "ok"}
    async with running_api(empty_database_url) as client:
        answer = await client.get("/health/ready")
        assert (answer.status_code, answer.json()["reason"]) == (
            503,
            "the database is not migrated to this release",
        )


@pytest.fixture
def spans() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    configure_tracing(TelemetrySettings(), service="api", processors=[SimpleSpanProcessor(exporter)])
    return exporter


async def test_the_clients_trace_leads_to_the_event(database_url: str, spans: InMemorySpanExporter) -> None:
    async with running_api(database_url) as client:
        answer = await client.post("/events", json=ISSUE, headers={"traceparent": TRACEPARENT})
        story = (await client.get(answer.headers["location"])).json()
    server, accept = (
        next(span for span in spans.get_finished_spans() if span.name == name) for name in ("POST /events", "accept")
    )
    assert server.parent is not None
    assert server.parent.span_id == int("b7ad6b7169203331", 16)
    assert accept.parent == server.context
    assert accept.context is not None
    assert story["traceparent"] == f"00-0af7651916cd43dd8448eb211c80319c-{accept.context.span_id:016x}-01"
    assert answer.json()["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


async def test_a_clients_mistake_marks_no_span_as_failed(database_url: str, spans: InMemorySpanExporter) -> None:
    async with running_api(database_url) as client:
        answer = await client.post("/events", json={"type": "test.issue", "data": {}})
    assert answer.json()["trace_id"] in {f"{span.context.trace_id:032x}" for span in spans.get_finished_spans()}
    assert {span.status.is_ok for span in spans.get_finished_spans()} == {True}


async def test_probes_and_scrapes_make_no_spans(database_url: str, spans: InMemorySpanExporter) -> None:
    async with running_api(database_url) as client:
        for path in ("/health/live", "/health/ready", "/metrics", "/metrics/"):
            assert (await client.get(path)).status_code == 200
    assert spans.get_finished_spans() == ()


async def test_the_request_metric_leads_to_the_trace(database_url: str, spans: InMemorySpanExporter) -> None:
    del spans
    async with running_api(database_url) as client:
        await client.post("/events", json=ISSUE, headers={"traceparent": TRACEPARENT})
        answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert '# {trace_id="0af7651916cd43dd8448eb211c80319c"}' in answer.text


async def test_both_ways_to_send_events_are_held_against_the_target(database_url: str) -> None:
    async with running_api(database_url) as client:
        await client.post("/events", json=ANY)
        await client.post("/events/", json=ANY)
        await client.post("/events", content=b"{")
        shown = (await client.get("/metrics")).text.splitlines()
    assert 'throughline_slo_events_total{good="true",pipeline="",sli="ingest"} 2.0' in shown
    assert 'throughline_slo_events_total{good="false",pipeline="",sli="ingest"} 0.0' in shown
