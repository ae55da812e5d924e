import json

import httpx

from tests.support.system import System, eventually, secrets_of
from throughline.embedded import free_port

EVENT = {"type": "github.watch", "data": {"action": "started", "sender": {"login": "topsecretlogin"}}}


def test_flower_shows_the_workers_tasks_to_those_with_the_password_alone(
    whole: System, database_url: str, redis_url: str
) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    whole.start(
        "flower",
        ready=f"{url}/healthcheck",
        THROUGHLINE_FLOWER_PORT=port,
        THROUGHLINE_FLOWER_PASSWORD="flowers-own-password",
    )
    whole.start_relay()
    whole.start_worker()
    whole.start_api(THROUGHLINE_API_FLOWER_URL=url)

    for path in ("/", "/workers", "/tasks", "/api/tasks", "/api/workers"):
        assert httpx.get(f"{url}{path}", trust_env=False).status_code == 401, path
    scraped = httpx.get(f"{url}/metrics", trust_env=False)
    assert (scraped.status_code, "flower_" in scraped.text) == (200, True), "as Prometheus reads it"

    with httpx.Client(base_url=url, auth=("throughline", "flowers-own-password"), trust_env=False) as client:
        eventually(lambda: client.get("/api/workers?refresh=1").json(), what="a worker in Flower")
        event = whole.ended(whole.post(EVENT)["event_id"])
        ((attempt,),) = (run["attempts"] for run in event["runs"])
        assert attempt["links"]["task"] == f"{url}/task/{attempt['task_id']}"

        def succeeded() -> dict[str, object] | None:
            task = client.get(f"/api/task/info/{attempt['task_id']}")
            return task.json() if task.status_code == 200 and task.json()["state"] == "SUCCESS" else None

        task = eventually(succeeded, what=f"task {attempt['task_id']} in Flower")
        assert task is not None
        assert task["name"] == "process_incoming_event"
        assert "repository_activity" in str(task["kwargs"])
        pages = [client.get(path).text for path in ("/workers", "/tasks", "/broker", f"/task/{attempt['task_id']}")]
        details = [client.get(path).text for path in ("/api/workers", "/api/tasks")]
        (worker,) = client.get("/api/workers").json()
        pages.append(client.get(f"/worker/{worker}").text)
    shown = "\n".join([*pages, *details, json.dumps(task)])
    secrets = {"flowers-own-password", "topsecretlogin", *secrets_of([database_url, redis_url])}
    assert [secret for secret in secrets if secret in shown] == []
