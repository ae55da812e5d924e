import asyncio
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import asyncpg
import httpx
import pytest
import redis

from tests.support.command import command, up_settings
from tests.support.system import ROOT, eventually

WEBHOOKS = ROOT.parent / "shared" / "data" / "github-webhooks"

pytestmark = [pytest.mark.verify, pytest.mark.timeout(300)]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def test_the_demo_shows_the_outcomes_and_a_line_and_leaves_nothing(output: Path, tmp_path: Path) -> None:
    with command("demo", output=output, cwd=tmp_path, TMPDIR=str(tmp_path)) as demo:
        assert demo.end() == 0, demo.said
    said = demo.said
    for service in ("postgres", "redis", "api", "relay", "worker", "flower"):
        assert re.search(rf"{service} ready [\d.]+ s", said), said
    assert "all 9 events ended as they should" in said
    assert re.search(r"log lines with this trace: api \d+, relay \d+, worker \d+", said), said
    assert re.search(r"run [0-9a-f-]{36}  issue_triage v1  succeeded in", said), said
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


@pytest.mark.skipif(not WEBHOOKS.exists(), reason="../shared/data/github-webhooks is not there")
def test_the_demo_takes_every_real_webhook_body(output: Path, tmp_path: Path) -> None:
    bodies = len(list(WEBHOOKS.rglob("*.json")))
    with command("demo", "--events", str(WEBHOOKS), output=output, cwd=tmp_path, TMPDIR=str(tmp_path)) as demo:
        assert demo.end() == 0, demo.said
    assert f"all {bodies} events ended as they should" in demo.said


def test_the_demo_fails_for_an_event_that_nothing_takes_or_that_is_refused(output: Path, tmp_path: Path) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    (folder / "unrouted.json").write_text(json.dumps({"type": "nobody.wants", "data": {}}))
    (folder / "refused.json").write_text(json.dumps({"type": "github.issues", "data": {"action": "opened"}}))
    with command("demo", "--events", str(folder), output=output, cwd=tmp_path) as demo:
        assert demo.end() == 1
    assert "unrouted.json: ended as unrouted" in demo.said
    assert re.search(r"refused\.json: HTTP 422: .*data\.issue", demo.said), demo.said


def test_an_interrupted_demo_leaves_nothing(output: Path, tmp_path: Path) -> None:
    with command("demo", output=output, cwd=tmp_path, TMPDIR=str(tmp_path)) as demo:
        demo.until("migrating the database")
        demo.process.send_signal(signal.SIGINT)
        assert demo.end() == 130, demo.said
    assert "Traceback" not in demo.said
    assert [path.name for path in tmp_path.iterdir()] == ["output"]


def test_up_stays_until_ctrl_c_and_its_data_survives(output: Path, tmp_path: Path) -> None:
    settings = up_settings()
    api = f"http://127.0.0.1:{settings['THROUGHLINE_API_PORT']}"
    event = {"type": "github.watch", "id": "1", "data": {"action": "started", "sender": {"login": "ada"}}}
    with command("up", output=output, cwd=tmp_path, **settings) as up:
        shown = up.until("Ctrl-C stops everything")
        assert api in shown
        places = dict(re.findall(r"(relay|worker|cell) :(\d+)", shown)) | {
            "flower": settings["THROUGHLINE_FLOWER_PORT"]
        }
        assert places.keys() == {"relay", "worker", "cell", "flower"}
        for place in places.values():
            metrics = httpx.get(f"http://127.0.0.1:{place}/metrics", trust_env=False)
            assert (metrics.status_code, "# HELP" in metrics.text) == (200, True), place
        event_id = httpx.post(f"{api}/events", json=event, trust_env=False).json()["event_id"]
        up.process.send_signal(signal.SIGINT)
        up.process.send_signal(signal.SIGINT)
        assert up.end() == 0, up.said
    assert "Traceback" not in up.said
    with command("up", output=output, cwd=tmp_path, **settings) as up:
        up.until("Ctrl-C stops everything")
        again = httpx.post(f"{api}/events", json=event, trust_env=False)
        assert (again.status_code, again.json()["event_id"]) == (200, event_id)
        eventually(
            lambda: httpx.get(f"{api}/events/{event_id}", trust_env=False).json()["status"] == "succeeded",
            what="the event's end after the restart",
        )
        up.process.send_signal(signal.SIGTERM)
        assert up.end() == 0, up.said


def test_up_survives_the_kill_of_a_worker(output: Path, tmp_path: Path) -> None:
    settings = up_settings()
    api = f"http://127.0.0.1:{settings['THROUGHLINE_API_PORT']}"
    with command("up", output=output, cwd=tmp_path, **settings) as up:
        up.until("Ctrl-C stops everything")
        (worker,) = (
            int(line.split()[0])
            for line in subprocess.check_output(["ps", "-eo", "pid,args"], text=True).splitlines()
            if line.endswith("-m throughline worker") and is_marked(int(line.split()[0]), up.mark)
        )
        os.kill(worker, signal.SIGKILL)
        up.until("worker starts again")
        event = {"type": "github.watch", "data": {"action": "started", "sender": {"login": "ada"}}}
        event_id = httpx.post(f"{api}/events", json=event, trust_env=False).json()["event_id"]
        eventually(
            lambda: httpx.get(f"{api}/events/{event_id}", trust_env=False).json()["status"] == "succeeded",
            what="an event's end after the kill",
        )
        up.process.send_signal(signal.SIGTERM)
        assert up.end() == 0, up.said


def is_marked(pid: int, mark: str) -> bool:
    """Say whether a process of ours is a worker, and not the cell."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        return mark.encode() in environ and b"THROUGHLINE_WORKER_CELL=true" not in environ
    except OSError:
        return False


def test_up_uses_a_given_database_and_redis_and_empties_neither(
    output: Path, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("somebody-elses", "value")
        settings = up_settings(THROUGHLINE_DATABASE_URL=database_url, THROUGHLINE_REDIS_URL=redis_url)
        api = f"http://127.0.0.1:{settings['THROUGHLINE_API_PORT']}"
        for _ in range(2):
            with command("up", output=output, cwd=tmp_path, **settings) as up:
                up.until("Ctrl-C stops everything")
                event = {"type": "github.watch", "id": "1", "data": {"sender": {"login": "ada"}}}
                status = httpx.post(f"{api}/events", json=event, trust_env=False).status_code
                up.process.send_signal(signal.SIGTERM)
                assert up.end() == 0, up.said
        assert status == 200, "the event of the first time is still there"
        assert client.get("somebody-elses") == b"value"
        client.delete("somebody-elses")
    assert not (tmp_path / ".throughline" / "postgres").exists()


def test_up_says_in_one_line_that_a_port_is_taken(output: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with command("up", "--postgres-port", port, output=output, cwd=tmp_path, **up_settings()) as up:
            assert up.end() == 2
        assert port in up.said
        with command("up", output=output, cwd=tmp_path, **up_settings(THROUGHLINE_API_PORT=port)) as up:
            assert up.end() == 2
        assert re.search(rf"{port}.*(taken|in use)", up.said), up.said
    assert "Traceback" not in up.said


def test_up_and_demo_say_in_one_line_that_a_module_of_pipelines_is_missing(output: Path, tmp_path: Path) -> None:
    missing = {"THROUGHLINE_PIPELINES_MODULES": '["nowhere"]'}
    for name in ("up", "demo"):
        with command(name, output=output, cwd=tmp_path, **up_settings(**missing)) as running:
            assert running.end() == 2
        (line,) = running.said.splitlines()
        assert re.match(r"throughline: module 'nowhere' can't be imported .*THROUGHLINE_PIPELINES_MODULES", line)
    assert [path.name for path in tmp_path.iterdir()] == ["output"], "nothing was started"


def test_up_says_in_one_line_that_the_database_is_of_a_newer_release(
    output: Path, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async def make_newer() -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE alembic_version SET version_num = 'from_the_future'")
        await connection.close()

    asyncio.run(make_newer())
    settings = up_settings(THROUGHLINE_DATABASE_URL=database_url, THROUGHLINE_REDIS_URL=redis_url)
    with command("up", output=output, cwd=tmp_path, **settings) as up:
        assert up.end() == 2
    assert "newer release" in up.said.splitlines()[-1]
