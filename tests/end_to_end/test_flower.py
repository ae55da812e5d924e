import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from flower.urls import handlers

from settings import Settings
from tests.support.otlp import OtlpReceiver
from tests.support.system import ROOT, System, eventually, secrets_of, system
from throughline.embedded import EmbeddedRedis, free_port

EVENT = {"type": "github.watch", "data": {"action": "started", "sender": {"login": "topsecretlogin"}}}
PASSWORD = "flowers, own:password"
FLOWS = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.flows"]'}
OPEN = frozenset({"/metrics", "/healthcheck", "/static/(.*)", "/login/?", "/logout", ".*"})
"""What Flower shows to everybody."""


@contextmanager
def flower(whole: System, **settings: str) -> Iterator[httpx.Client]:
    """Start Flower; a client that has the password, and an API whose links lead there."""
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    whole.start(
        "flower",
        ready=f"{url}/healthcheck",
        THROUGHLINE_FLOWER_PORT=port,
        THROUGHLINE_FLOWER_PASSWORD=PASSWORD,
        **settings,
    )
    whole.start_api(THROUGHLINE_API_FLOWER_URL=url, **FLOWS)
    with httpx.Client(base_url=url, auth=("throughline", PASSWORD), trust_env=False) as client:
        yield client


def ended_task(client: httpx.Client, task_id: str, *, timeout: float = 30.0) -> dict[str, Any]:
    """Return what Flower knows of a task, once it has ended there."""

    def ended() -> dict[str, Any] | None:
        answer = client.get(f"/api/task/info/{task_id}")
        return answer.json() if answer.status_code == 200 and answer.json()["state"] == "SUCCESS" else None

    found = eventually(ended, timeout=timeout, what=f"task {task_id} in Flower")
    assert found is not None
    return found


def search(client: httpx.Client, wanted: str) -> tuple[list[str], int]:
    """Search as the page of tasks does; return the ids that were found, and how many tasks are kept."""
    parameters = {"draw": 1, "start": 0, "length": 100, "search[value]": wanted, "order[0][column]": 0}
    found = client.get("/tasks/datatable", params=parameters | {"columns[0][data]": "name"}).json()
    return [task["uuid"] for task in found["data"]], found["recordsTotal"]


def attempts_of(event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the attempts of an event's only run, each with the run's id and pipeline."""
    (run,) = event["runs"]
    return [attempt | {"run_id": run["run_id"], "pipeline": run["pipeline"]} for attempt in run["attempts"]]


def test_flower_shows_the_workers_tasks_to_those_with_the_password_alone(
    whole: System, database_url: str, redis_url: str
) -> None:
    with flower(whole) as client:
        whole.start_relay()
        whole.start_worker()
        eventually(lambda: client.get("/api/workers?refresh=1").json(), what="a worker in Flower")
        event = whole.ended(whole.post(EVENT)["event_id"])
        (attempt,) = attempts_of(event)
        assert attempt["links"]["task"] == f"{client.base_url}/task/{attempt['task_id']}".replace("//task", "/task")
        task = ended_task(client, attempt["task_id"])
        assert task["name"] == "process_incoming_event"
        assert task["runtime"] > 0
        (worker,) = client.get("/api/workers").json()
        paths = ("/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/logout", "/metrics", "/not/there")
        answers = [client.get(path) for path in (*paths, f"/task/{attempt['task_id']}", f"/worker/{worker}")]
        assert "Configuration options" in answers[-1].text, "the worker's page was read as a whole"
    shown = "\n".join([*(answer.text for answer in answers), json.dumps(task)])
    log = (whole.home / "flower.log").read_text()
    secrets = {PASSWORD, "topsecretlogin", *secrets_of([database_url, redis_url])}
    assert [secret for secret in secrets if secret in shown or secret in log] == []


def test_flower_asks_for_the_password_wherever_it_shows_or_does_something(whole: System) -> None:
    with flower(whole, THROUGHLINE_FLOWER_READ_ONLY="true") as client:
        patterns = [handler[0] if isinstance(handler, tuple) else handler.regex.pattern for handler in handlers]
        paths = [re.sub(r"\(.*?\)", "x", path) for path in {text.rstrip("$") for text in patterns} - OPEN]
        assert {"/", "/tasks", "/broker", "/api/tasks", "/api/worker/shutdown/x"} <= set(paths)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "x" * 22 + "==",
            "Sec-WebSocket-Version": "13",
        }
        logins = [None, ("throughline", ""), ("throughline", PASSWORD.partition(",")[0]), ("", PASSWORD)]
        got = {
            (path, answer.status_code)
            for path in paths
            for login in logins
            for answer in (
                httpx.get(f"{client.base_url}{path}", auth=login, headers=upgrade, trust_env=False),
                httpx.post(f"{client.base_url}{path}", auth=login, trust_env=False),
            )
        }
        assert {(path, status) for path, status in got if status not in {401, 405}} == set()
        assert {path for path, status in got if status == 401} == set(paths)
        assert client.get("/").status_code == 200
        assert client.post("/api/worker/shutdown/x").status_code == 403, "it is read-only"


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_link_leads_to_the_task_that_names_the_run_among_all_of_its_message(whole: System, pool: str) -> None:
    with flower(whole) as client:
        answer = httpx.post(f"{whole.api_url}/events", json=[EVENT] * 40, timeout=10, trust_env=False)
        ids = [item["event"]["event_id"] for item in answer.json()["items"]]
        whole.start_relay()
        port = free_port()
        whole.start(
            "worker",
            ready=f"http://127.0.0.1:{port + (pool == 'prefork')}/metrics",
            THROUGHLINE_WORKER_METRICS_PORT=str(port),
            THROUGHLINE_WORKER_POOL=pool,
            THROUGHLINE_WORKER_CONCURRENCY="2",
        )
        tasks: dict[str, set[str]] = defaultdict(set)
        for event_id in ids:
            (attempt,) = attempts_of(whole.ended(event_id))
            tasks[attempt["links"]["task"]].add(attempt["run_id"])
        assert max(len(runs) for runs in tasks.values()) > 1
        assert sum(len(runs) for runs in tasks.values()) == 40
        for link, runs in tasks.items():
            task_id = link.rpartition("/")[2]
            task = ended_task(client, task_id)
            page = client.get(link).text
            assert [run for run in runs if run not in page] == []
            assert f"'pipeline': 'repository_activity', 'runs': {len(runs)}, 'run_ids': [" in task["kwargs"]
            assert f"'outcomes': {{'succeeded': {len(runs)}}}" in task["result"]
            for run in runs:
                assert search(client, run)[0] == [task_id]
        found, _ = search(client, "kwargs:pipeline=repository_activity")
        assert set(found) == {link.rpartition("/")[2] for link in tasks}


def test_the_tasks_of_a_failed_and_of_a_retried_run_say_so(whole: System, tmp_path: Path) -> None:
    with flower(whole) as client:
        whole.start_relay()
        whole.start_worker(**FLOWS)
        data = {"log": str(tmp_path / "calls"), "fail_attempts": 1}
        retried = whole.post({"type": "test.steady", "data": data})["event_id"]
        failed = whole.post({"type": "test.refusing", "data": data})["event_id"]
        outcomes = []
        for event_id in (retried, failed):
            for attempt in attempts_of(whole.ended(event_id)):
                task = ended_task(client, attempt["links"]["task"].rpartition("/")[2])
                assert attempt["run_id"] in task["kwargs"]
                outcomes.append((attempt["outcome"], re.search(r"'outcomes': (\{.*?\})", task["result"])))
    assert [(outcome, found and found[1]) for outcome, found in outcomes] == [
        ("retried", "{'retried': 1}"),
        ("succeeded", "{'succeeded': 1}"),
        ("failed", "{'failed': 1}"),
    ]


def test_flower_keeps_the_latest_tasks_and_serves_its_metrics_where_prometheus_looks(whole: System) -> None:
    with flower(whole, THROUGHLINE_FLOWER_MAX_TASKS="5") as client:
        whole.start_relay()
        whole.start_worker()
        for _ in range(12):
            last = whole.ended(whole.post(EVENT)["event_id"])
        ended_task(client, attempts_of(last)[0]["task_id"])
        assert search(client, "")[1] == 5
        documented = set(re.findall(r"`(flower_\w+)`", (ROOT / "docs" / "operating.md").read_text()))

        def all_have_values() -> str | None:
            text = httpx.get(f"{client.base_url}/metrics", trust_env=False).text
            return text if all(re.search(rf"^{name}(_\w+)?\{{", text, re.MULTILINE) for name in documented) else None

        scraped = eventually(all_have_values, what=f"a value for each of {documented}") or ""
    names = set(re.findall(r"^# TYPE (flower_\w+) ", scraped, re.MULTILINE))
    assert documented == {name for name in names if not name.endswith("_created")}
    config = yaml.safe_load((ROOT / "observability" / "prometheus" / "prometheus.yml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    assert targets["throughline-flower"] == [f"127.0.0.1:{Settings().flower.port}"]


@pytest.mark.verify
def test_flower_sees_again_soon_after_redis_was_away(database_url: str, tmp_path: Path, receiver: OtlpReceiver) -> None:
    """Celery's own Flower would look for Redis after 2, 4, 8, 16, 32 seconds."""
    settings = {"THROUGHLINE_TELEMETRY_ENDPOINT": receiver.endpoint, "THROUGHLINE_REDIS_CONNECT_TIMEOUT": "0.5"}
    with (
        EmbeddedRedis(tmp_path / "redis") as redis,
        system(database_url=database_url, redis_url=redis.url, home=tmp_path, settings=settings) as whole,
        flower(whole) as client,
    ):
        whole.start_relay()
        whole.start_worker()
        (attempt,) = attempts_of(whole.ended(whole.post(EVENT)["event_id"]))
        ended_task(client, attempt["task_id"])
        redis.stop()
        log = tmp_path / "flower.log"
        eventually(lambda: log.read_text().count("hears nothing") >= 5, timeout=60, what="five tries in vain")
        assert [client.get(path).status_code for path in ("/tasks", "/broker", "/workers")] == [200] * 3
        redis.start()
        (attempt,) = attempts_of(whole.ended(whole.post(EVENT)["event_id"]))
        ended_task(client, attempt["task_id"], timeout=15)
