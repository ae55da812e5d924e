"""What can be answered without a database."""

import re
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from api.problems import ProblemType
from tests.support.api import ISSUE, client_of, make_app

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def collectors() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def app(collectors: CollectorRegistry) -> FastAPI:
    return make_app("postgresql://nobody@127.0.0.1:1/none", collectors=collectors, max_body_bytes=1000)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


def problem(answer: httpx.Response, status: int) -> dict[str, object]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    body = answer.json()
    assert body["status"] == status
    assert {"type", "title", "instance", "trace_id"} <= body.keys()
    assert isinstance(body, dict)
    return body


async def test_an_unknown_path_is_a_problem(client: httpx.AsyncClient) -> None:
    assert problem(await client.get("/nope"), 404)["type"] == "about:blank"


async def test_a_wrong_method_is_a_problem_that_says_what_is_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.delete("/events")
    problem(answer, 405)
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"


async def test_options_says_what_is_allowed(client: httpx.AsyncClient) -> None:
    answer = await client.options("/pipelines")
    assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


@pytest.mark.parametrize("path", ["/pipelines", "/health/live", "/metrics", "/openapi.json"])
async def test_head_answers_as_get_without_the_body(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.head(path)
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("path", ["/pipelines/", "/health/live/", "/events/"])
async def test_a_trailing_slash_changes_nothing(client: httpx.AsyncClient, path: str) -> None:
    with_slash, without = await client.options(path), await client.options(path.rstrip("/"))
    assert (with_slash.status_code, with_slash.headers) == (without.status_code, without.headers)


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "application/jsonx",
        "+json",
        "application/json; charset=latin-1",
    ],
)
async def test_a_body_that_is_not_called_json_is_not_read(client: httpx.AsyncClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert (
        problem(await client.post("/events", content=b"{}", headers=headers), 415)["type"]
        == "/problems/unsupported-body"
    )


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", 'application/json; charset="UTF-8"', "application/cloudevents+json"],
)
async def test_json_by_its_other_names_is_read(client: httpx.AsyncClient, content_type: str) -> None:
    problem(await client.post("/events", content=b"{}", headers={"Content-Type": content_type}), 422)


async def test_a_packed_body_is_not_read(client: httpx.AsyncClient) -> None:
    headers = JSON | {"Content-Encoding": "gzip"}
    problem(await client.post("/events", content=b"{}", headers=headers), 415)


async def chunks(*, length: int) -> AsyncIterator[bytes]:
    for _ in range(length // 100):
        yield b"x" * 100


async def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(client: httpx.AsyncClient) -> None:
    problem(await client.post("/events", content=b"x" * 1001, headers=JSON), 413)
    problem(await client.post("/events", content=chunks(length=2000), headers=JSON), 413)
    problem(await client.post("/events", content=b"x" * 2000, headers=JSON | {"Content-Length": "9" * 5000}), 413)


async def test_a_body_may_come_in_pieces(client: httpx.AsyncClient) -> None:
    problem(await client.post("/events", content=chunks(length=1000), headers=JSON), 400)


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b'{"type": NaN}', b"[" * 900])
async def test_what_is_not_json_is_a_400(client: httpx.AsyncClient, content: bytes) -> None:
    assert (
        problem(await client.post("/events", content=content, headers=JSON), 400)["type"] == "/problems/malformed-json"
    )


async def test_data_is_held_to_the_schemas_of_all_its_pipelines(client: httpx.AsyncClient) -> None:
    answer = await client.post("/events", json={"type": "test.issue", "data": {"issue": {"number": "hunter2"}}})
    errors = problem(answer, 422)["errors"]
    assert isinstance(errors, list)
    assert {error["field"] for error in errors} == {"data.issue.number", "data.issue.title"}
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("cursor=garbage", "cursor"),
        ("cursor=", "cursor"),
        ("after=2026-01-01T00:00:00", "after"),
        ("before=1700000000", "before"),
        ("after=0001-01-01T00:00:00%2B14:00", "after"),
        ("status=done", "status"),
        ("type=%00", "type"),
        ("source=", "source"),
        ("pipeline=a%0a", "pipeline"),
        ("offset=3", "offset"),
    ],
)
async def test_a_wrong_parameter_is_named(client: httpx.AsyncClient, query: str, field: str) -> None:
    errors = problem(await client.get(f"/events?{query}"), 422)["errors"]
    assert isinstance(errors, list)
    assert [error["field"] for error in errors] == [field]


async def test_an_event_id_is_a_uuid(client: httpx.AsyncClient) -> None:
    answer = await client.get("/events/garbage")
    assert problem(answer, 422)["errors"] == [{"field": "event_id", "message": "must be a UUID"}]


async def test_an_error_nobody_expected_tells_nothing_but_the_trace(
    app: FastAPI, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(app.state.services.registry, "validate", explode)
    answer = await client.post("/events", json=ISSUE)
    assert problem(answer, 500)["type"] == "/problems/internal"
    assert "hunter2" not in answer.text


async def test_pipelines_are_described(client: httpx.AsyncClient) -> None:
    items = (await client.get("/pipelines")).json()["items"]
    assert [(item["name"], item["version"], item["queue"]) for item in items] == [
        ("audit", 1, "audit"),
        ("issues", 3, "default"),
    ]
    assert [item["versions"] for item in items] == [[1], [2, 3]]
    assert items[1]["types"] == ["test.issue"]
    assert items[1]["json_schema"]["required"] == ["issue"]


async def test_a_pipeline_is_shown_with_its_graph_as_text_and_picture(client: httpx.AsyncClient) -> None:
    shown = (await client.get("/pipelines/issues")).json()
    assert (shown["name"], shown["links"]["self"]) == ("issues", "/pipelines/issues")
    assert shown["mermaid"].startswith("flowchart TD\n")
    graph = await client.get(shown["links"]["graph"])
    assert (graph.status_code, graph.headers["content-type"].partition(";")[0]) == (200, "image/svg+xml")
    assert graph.text.startswith("<svg ")
    assert graph.headers["x-content-type-options"] == "nosniff"
    assert graph.headers["content-security-policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"


@pytest.mark.parametrize("path", ["/pipelines/nobody", "/pipelines/nobody/graph.svg", "/pipelines/%3Cscript%3E"])
async def test_a_pipeline_that_is_not_there_is_a_problem(client: httpx.AsyncClient, path: str) -> None:
    assert problem(await client.get(path), 404)["type"] == "/problems/pipeline-not-found"


async def test_the_process_lives_without_postgresql_and_is_not_ready(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health/live")).json() == {"status": "ok"}
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")


@pytest.mark.parametrize("type_", ProblemType)
async def test_a_problem_type_leads_to_what_it_means(client: httpx.AsyncClient, type_: ProblemType) -> None:
    answer = await client.get(f"/problems/{type_.value.name}")
    assert answer.status_code == 200
    assert type_.value.meaning in answer.text


async def test_an_unknown_problem_type_is_not_found(client: httpx.AsyncClient) -> None:
    problem(await client.get("/problems/none"), 404)


async def test_routes_and_methods_of_the_request_metric_are_bounded(
    client: httpx.AsyncClient, collectors: CollectorRegistry
) -> None:
    for path in ("/a", "/b", "/events/x", "/events/y"):
        await client.request("BREW", path)
        await client.get(path)
    found = {
        (sample.labels["http_request_method"], sample.labels["http_route"])
        for sample in _samples(collectors, "http_server_request_duration_seconds_count")
    }
    assert found == {
        ("_OTHER", "unmatched"),
        ("GET", "unmatched"),
        ("_OTHER", "/events/{event_id}"),
        ("GET", "/events/{event_id}"),
    }


async def test_a_rejected_event_is_counted_under_a_bounded_type(
    client: httpx.AsyncClient, collectors: CollectorRegistry
) -> None:
    await client.post("/events", json={"type": "test.issue", "data": {}})
    await client.post("/events", json={"type": "made.up", "data": {}, "x": 1})
    await client.post("/events", content=b"?", headers=JSON)
    counted = {
        (sample.labels["type"], sample.labels["outcome"]): sample.value
        for sample in _samples(collectors, "throughline_events_total")
    }
    assert counted == {("test.issue", "rejected"): 1, ("other", "rejected"): 2}


def _samples(collectors: CollectorRegistry, name: str) -> Iterator[object]:
    for family in collectors.collect():
        yield from (sample for sample in family.samples if sample.name == name)


async def test_openapi_shows_bodies_read_by_hand_and_every_problem(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    post = document["paths"]["/events"]["post"]
    assert post["operationId"] == "postEvent"
    assert set(post["responses"]) == {"200", "202", "400", "408", "409", "413", "415", "422", "500", "503"}
    assert "application/problem+json" in post["responses"]["422"]["content"]
    assert post["requestBody"]["content"]["application/json"]["examples"]
    assert {"ProblemDetails", "ProblemError"} <= document["components"]["schemas"].keys()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert all(operation["operationId"] and operation["tags"] for operation in operations)


async def test_the_docs_page_loads_all_it_needs_from_here(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)="([^"]+)"|url: '([^']+)'""", page.text)
    addresses = [first or second for first, second in loaded]
    assert "/openapi.json" in addresses
    assert len(addresses) >= 3
    for address in addresses:
        assert address.startswith("/"), f"{address} is another host's"
        assert (await client.get(address)).status_code == 200, address
