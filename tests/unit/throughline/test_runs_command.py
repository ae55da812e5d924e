import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from typer.testing import CliRunner

from throughline.cli.main import app
from throughline.client import ApiRefused

RUN = "01a20b17-e19d-74a6-a967-c51888a652d8"
MADE = "01a20b17-e240-76c0-8dcc-6d6e7a42f775"
DEAD = {"dry_run": True, "matching": 3, "replayed": 0, "sample": [RUN]}


class _Api(HTTPServer):
    """Answers each request with what the test put there, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self.asked: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Api

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.asked.append((self.command, self.path, json.loads(body) if body else None))
        status, answer = self.server.answers.get(self.path.partition("?")[0], (404, {"detail": "not there"}))
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json" if status < 400 else "application/problem+json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[_Api]:
    server = _Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def said(api: _Api, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*arguments, "--url", api.url])
    assert result.exit_code == code, result.output
    return result.output


def test_dead_runs_are_the_failed_ones_that_nobody_has_replayed(api: _Api) -> None:
    run = {
        "run_id": RUN,
        "event_id": MADE,
        "pipeline": "p",
        "status": "failed",
        "attempt": 3,
        "finished_at": "2026-11-24T01:00:00Z",
        "error": {"type": "Boom", "message": "[no]", "node": "n"},
    }
    api.answers["/runs"] = (200, {"items": [run], "next_cursor": None})
    output = said(api, "runs", "list", "--dead", "--pipeline", "p", "--limit", "5")
    assert RUN in output
    assert "n: Boom: [no]" in output
    assert api.asked == [("GET", "/runs?pipeline=p&status=failed&replayed=false&limit=5", None)]


@pytest.mark.parametrize("what", ["events", "runs"])
def test_a_list_of_nothing_says_so_and_names_types_that_may_be_meant(api: _Api, what: str) -> None:
    api.answers["/events"] = (200, {"items": [], "next_cursor": None})
    api.answers["/runs"] = (200, {"items": [], "next_cursor": None})
    api.answers["/pipelines"] = (200, {"items": [{"name": "triage", "types": ["github.issues"]}]})
    output = said(api, what, "list", "--type", "github.issue", "--pipeline", "triag")
    assert output == (
        f"no {what} match; --type is exact; near 'github.issue': github.issues; "
        "--pipeline is exact; near 'triag': triage\n"
    )
    assert said(api, what, "list", "--type", "else") == f"no {what} match; --type is exact\n"
    api.answers.pop("/pipelines")
    assert said(api, what, "list", "--type", "github.issue") == f"no {what} match; --type is exact\n"
    result = CliRunner().invoke(app, [what, "list", "--json", "--url", api.url])
    assert json.loads(result.stdout) == []


def test_a_cancel_says_whether_the_run_has_ended(api: _Api) -> None:
    api.answers[f"/runs/{RUN}/cancel"] = (202, {"status": "running"})
    assert "asked to end it" in said(api, "runs", "cancel", RUN, "--reason", "why")
    api.answers[f"/runs/{RUN}/cancel"] = (200, {"status": "cancelled"})
    assert "cancelled" in said(api, "runs", "cancel", RUN)
    assert [body for _, _, body in api.asked] == [{"reason": "why"}, {"reason": None}]


def test_a_replay_names_the_new_run_and_its_origin(api: _Api) -> None:
    made = {"run_id": MADE, "pipeline": "p", "replay_of": RUN}
    api.answers[f"/runs/{RUN}/replay"] = (202, made)
    api.answers["/events/e/replay"] = (202, {"runs": [made]})
    assert f"{MADE}  p  replay of {RUN}" in said(api, "runs", "replay", RUN, "--from", "node")
    assert f"{MADE}  p  replay of {RUN}" in said(api, "events", "replay", "e")
    assert [(path, body) for _, path, body in api.asked] == [
        (f"/runs/{RUN}/replay", {"from": "node"}),
        ("/events/e/replay", None),
    ]


def test_dead_runs_are_replayed_after_a_look_or_a_yes_alone(api: _Api) -> None:
    api.answers["/runs/replay"] = (200, DEAD)
    said(api, "runs", "replay", "--dead", code=2)
    assert api.asked == []
    assert "3 dead runs match, 2 would be replayed" in said(
        api, "runs", "replay", "--dead", "--dry-run", "--limit", "2"
    )
    api.answers["/runs/replay"] = (200, DEAD | {"matching": 0, "left_out": {"gone": 4}, "sample": []})
    assert "4 more of gone are left out: the API has not loaded that pipeline" in said(
        api, "runs", "replay", "--dead", "--dry-run"
    )
    api.answers["/runs/replay"] = (200, DEAD | {"dry_run": False, "replayed": 3})
    assert "3 replayed" in said(api, "runs", "replay", "--dead", "--yes", "--failure-kind", "timeout")
    assert [body for _, _, body in api.asked] == [
        {"limit": 2, "dry_run": True},
        {"limit": 1000, "dry_run": True},
        {"failure_kind": "timeout", "limit": 1000, "dry_run": False},
    ]


def test_dead_runs_are_purged_after_a_look_or_a_yes_alone(api: _Api) -> None:
    answer = {"dry_run": True, "matching": 3, "purged": 0, "kept": 1, "events": 0, "runs": 0, "sample": [RUN]}
    api.answers["/runs/purge"] = (200, answer)
    for arguments in (["--dead"], ["--yes"], ["--dead", "--yes", "--dry-run"]):
        said(api, "runs", "purge", *arguments, code=2)
    assert api.asked == []
    look = said(api, "runs", "purge", "--dead", "--dry-run")
    assert "3 dead runs match, 2 would be removed" in look
    assert "1 stay with their event" in look
    api.answers["/runs/purge"] = (200, answer | {"dry_run": False, "purged": 2, "events": 2, "runs": 5})
    done = said(api, "runs", "purge", "--dead", "--yes", "--failure-kind", "timeout", "--limit", "7")
    assert "2 removed" in done
    assert "2 events went, with 5 runs in all" in done
    assert [body for _, _, body in api.asked] == [
        {"limit": 1000, "dry_run": True},
        {"failure_kind": "timeout", "limit": 7, "dry_run": False},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        [RUN, "--dead", "--yes"],
        [RUN, "--yes"],
        [RUN, "--pipeline", "p"],
        ["--dead", "--yes", "--from", "node"],
        ["--dead", "--yes", "--dry-run"],
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_asked(api: _Api, arguments: list[str]) -> None:
    said(api, "runs", "replay", *arguments, code=2)
    assert api.asked == []


def test_a_refusal_is_told_in_the_apis_words(api: _Api) -> None:
    api.answers[f"/runs/{RUN}/cancel"] = (409, {"detail": "The run has ended as failed."})
    result = CliRunner().invoke(app, ["runs", "cancel", RUN, "--url", api.url])
    assert isinstance(result.exception, ApiRefused)
    assert str(result.exception) == "HTTP 409: The run has ended as failed."
