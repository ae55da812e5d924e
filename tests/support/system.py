"""The real processes over test servers: what an end-to-end test talks to."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

from throughline.embedded import free_port
from throughline.supervision import ProcessService, http_ok
from throughline.supervision.service import stop, wait_ready

ROOT = Path(__file__).parents[2]
FINAL = frozenset({"succeeded", "failed", "cancelled", "unrouted", "awaited"})

AnswerT = TypeVar("AnswerT")

QUESTION = {
    "type": "github.issues",
    "source": "test",
    "data": {
        "action": "opened",
        "issue": {"number": 7, "title": "How do I begin?", "html_url": "https://github.example/a/b/issues/7"},
        "repository": {"full_name": "a/b"},
        "sender": {"login": "ada"},
    },
}
"""An event that both flows take."""


def eventually(answer: Callable[[], AnswerT], *, timeout: float = 30.0, what: str) -> AnswerT:
    """Ask until the answer is true and return it; fail with ``what`` was awaited, and the last answer."""
    deadline = time.monotonic() + timeout
    while not (last := answer()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; last: {last!r}")
        time.sleep(0.02)
    return last


class System:
    """API, relays, workers and Flower as processes of their own; started and stopped one by one."""

    def __init__(self, *, database_url: str, redis_url: str, home: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        self.services: dict[str, ProcessService] = {}
        self.api_url = ""
        self._settings = {
            "THROUGHLINE_DATABASE_URL": database_url,
            "THROUGHLINE_REDIS_URL": redis_url,
            "THROUGHLINE_RELAY_METRICS_PORT": "0",
            "THROUGHLINE_WORKER_METRICS_PORT": "0",
            "THROUGHLINE_LOG_FORMAT": "json",
            **settings,
        }

    def environment(self, **settings: str) -> dict[str, str]:
        """The environment of a process of this system; nothing of ours that the tests' own environment sets."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
        return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | self._settings | settings

    def start(self, name: str, *, ready: str | None = None, **settings: str) -> ProcessService:
        """Start ``throughline <name up to the first hyphen>`` and wait until it is ready."""
        service = ProcessService(
            name,
            [sys.executable, "-m", "throughline", name.partition("-")[0]],
            logs=self.home,
            env=self.environment(**settings),
            cwd=ROOT,
            ready=http_ok(ready) if ready else None,
            ready_timeout=60.0,
        )
        self.services[name] = service
        service.launch()
        wait_ready(service)
        return service

    def start_api(self, **settings: str) -> None:
        """Start the API on a free port."""
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        self.start("api", ready=f"{self.api_url}/health/ready", THROUGHLINE_API_PORT=str(port), **settings)

    def start_relay(self, name: str = "relay", **settings: str) -> ProcessService:
        """Start a relay and wait until it ticks."""
        port = str(free_port())
        return self.start(
            name, ready=f"http://127.0.0.1:{port}/metrics", THROUGHLINE_RELAY_METRICS_PORT=port, **settings
        )

    def start_worker(self, name: str = "worker", **settings: str) -> ProcessService:
        """Start a worker and wait until it serves its metrics."""
        port = str(free_port())
        return self.start(
            name, ready=f"http://127.0.0.1:{port}/metrics", THROUGHLINE_WORKER_METRICS_PORT=port, **settings
        )

    def start_cell(self, **settings: str) -> ProcessService:
        """Start the cell and wait until its child serves its metrics."""
        port = free_port()
        return self.start(
            "worker-cell",
            ready=f"http://127.0.0.1:{port + 1}/metrics",
            THROUGHLINE_WORKER_METRICS_PORT=str(port),
            THROUGHLINE_WORKER_CELL="true",
            **settings,
        )

    def post(self, event: Mapping[str, Any], **headers: str) -> dict[str, Any]:
        """POST an event that must be accepted; return the answer."""
        response = httpx.post(f"{self.api_url}/events", json=dict(event), headers=headers, timeout=10, trust_env=False)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def get(self, event_id: str) -> dict[str, Any]:
        """GET an event."""
        response = httpx.get(f"{self.api_url}/events/{event_id}", timeout=10, trust_env=False)
        assert response.status_code == 200, response.text
        story: dict[str, Any] = response.json()
        return story

    def ended(self, event_id: str, *, timeout: float = 30.0) -> dict[str, Any]:
        """Wait until an event has ended; return its story."""

        def story() -> dict[str, Any] | None:
            event = self.get(event_id)
            return event if event["status"] in FINAL else None

        found = eventually(story, timeout=timeout, what=f"the end of {event_id}; {self.tails()}")
        assert found is not None
        return found

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the log lines of a process; each must be JSON."""
        for line in (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip():
                yield json.loads(line)

    def tails(self) -> str:
        """Return the end of every log, for a failure's message."""
        logs = sorted(self.home.glob("*.log"))
        return "\n".join(f"--- {log.stem}\n" + "\n".join(log.read_text().splitlines()[-15:]) for log in logs)

    def stop(self, *names: str) -> None:
        """Stop these processes, or all of them, the last started first."""
        for name in names or tuple(reversed(self.services)):
            stop(self.services.pop(name))


@contextmanager
def system(*, database_url: str, redis_url: str, home: Path, settings: Mapping[str, str]) -> Iterator[System]:
    """A system that leaves no process behind."""
    made = System(database_url=database_url, redis_url=redis_url, home=home, settings=settings)
    try:
        yield made
    finally:
        for service in made.services.values():
            service.kill()


def secrets_of(urls: Sequence[str]) -> set[str]:
    """Return the passwords in ``urls``."""
    return {match[1] for url in urls if (match := re.search(r"://[^:/@]*:([^@/]+)@", url))}
