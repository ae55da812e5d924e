"""The running system before a Prometheus whose rules are scaled down: where faults are put on to see alerts fire."""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from psycopg import Connection

from observability.alerts import TimeScale, render_files
from pipelines import PipelineRegistry
from settings import Settings
from tests.support.boards import targets
from tests.support.otlp import OtlpReceiver
from tests.support.prometheus import Prometheus, prometheus
from tests.support.system import System, eventually, system
from throughline.cli.slo import plan_of
from throughline.embedded import free_port

FLOWS = "tests.support.flows"
SCALE = 1 / 60
EVERY = "500ms"

Event = dict[str, Any]


class Stage:
    """The system, its addresses, and what is sent to it."""

    def __init__(self, whole: System, *, database_url: str, receiver: OtlpReceiver) -> None:
        self.whole = whole
        self.receiver = receiver
        self._database_url = database_url
        self._log = str(whole.home / "calls")
        self._ports = {"relay": free_port(), "worker": free_port()}
        self.children: list[str] = []
        """The addresses of a prefork worker's children."""

    def start_relay(self) -> None:
        self._start("relay")

    def start_worker(self, **settings: str) -> None:
        self._start("worker", **settings)

    def _start(self, name: str, **settings: str) -> None:
        port = str(self._ports[name])
        where = {f"THROUGHLINE_{name.upper()}_METRICS_PORT": port}
        self.whole.start(name, ready=f"http://127.0.0.1:{port}/metrics", **where, **settings)

    def start_children(self, count: int, **settings: str) -> None:
        """Start a prefork worker, and wait until each of its children serves its metrics."""
        port = free_port()
        self.children = [f"127.0.0.1:{port + 1 + index}" for index in range(count)]
        pool = {"THROUGHLINE_WORKER_POOL": "prefork", "THROUGHLINE_WORKER_CONCURRENCY": str(count)}
        where = {"THROUGHLINE_WORKER_METRICS_PORT": str(port)}
        self.whole.start("worker-prefork", ready=f"http://{self.children[-1]}/metrics", **pool, **where, **settings)

    def event(self, kind: str, **data: float) -> Event:
        """An event for the flow ``kind`` of ``tests.support.flows``."""
        return {"type": f"test.{kind}", "data": {"log": self._log, **data}}

    def send(self, kind: str, **data: float) -> str:
        """Send an event; return its id."""
        return str(self.whole.post(self.event(kind, **data))["event_id"])

    def session(self) -> AbstractContextManager[Connection[tuple[Any, ...]]]:
        """A session in the database of somebody who is no process of ours."""
        return Connection.connect(self._database_url, autocommit=True)

    @contextmanager
    def load(self, *events: Event, senders: int = 1, every: float = 0.5) -> Iterator[None]:
        """Each sender sends all ``events``, in one request, every so many seconds; a 503 is an answer, too."""
        body = events[0] if len(events) == 1 else events

        def send(client: httpx.Client) -> None:
            assert client.post("/events", json=body).status_code in {202, 503}

        with self.repeated(send, by=senders, every=every):
            yield

    @contextmanager
    def repeated(self, ask: Callable[[httpx.Client], None], *, by: int = 1, every: float) -> Iterator[None]:
        """Let so many clients of the API ``ask`` at the same time, each every so many seconds."""
        stop = threading.Event()

        def go_on() -> None:
            with httpx.Client(base_url=self.whole.api_url, timeout=10, trust_env=False) as client:
                while not stop.wait(every):
                    ask(client)

        with ThreadPoolExecutor(by) as pool:
            asking = [pool.submit(go_on) for _ in range(by)]
            try:
                yield
            finally:
                stop.set()
                for one in asking:
                    one.result()

    def watching(
        self, folder: Path, *, scale: float = SCALE, only: str | None = None
    ) -> AbstractContextManager[Prometheus]:
        """A Prometheus over the API, the relay and the worker, with the shipped rules, or one file of them."""
        addresses = {f"throughline-{name}": [f"127.0.0.1:{port}"] for name, port in self._ports.items()}
        addresses["throughline-api"] = [self.whole.api_url.removeprefix("http://")]
        addresses["throughline-worker"] += self.children
        plan = plan_of(PipelineRegistry.load([FLOWS]), Settings(), scale=TimeScale(scale))
        rules = {name: text for name, text in render_files(plan).items() if only in {None, name}}
        return prometheus(folder, targets=addresses, rules=rules, every=EVERY)


@contextmanager
def staged(
    home: Path,
    *,
    database_url: str,
    redis_url: str,
    receiver: OtlpReceiver,
    api: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[Stage]:
    """An API, a relay and a worker that run; ``api`` are settings of the API alone."""
    common = {
        "THROUGHLINE_TELEMETRY_ENDPOINT": receiver.endpoint,
        "THROUGHLINE_PIPELINES_MODULES": f'["{FLOWS}"]',
        **settings,
    }
    with system(database_url=database_url, redis_url=redis_url, home=home, settings=common) as whole:
        made = Stage(whole, database_url=database_url, receiver=receiver)
        whole.start_api(**(api or {}))
        made.start_relay()
        made.start_worker()
        yield made


def shows(watching: Prometheus, panel: str) -> None:
    """Wait until every query of a panel has something to show."""
    queries = [target.filled(__rate_interval="15s") for target in targets() if target.panel == panel]
    assert queries
    for query in queries:
        eventually(lambda query=query: watching.series(query), what=f"something in {panel}")
