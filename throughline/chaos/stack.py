import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from pydantic import SecretStr

from migrations import upgrade
from settings import DatabaseSettings
from throughline.chaos.background import Background
from throughline.chaos.mount import SmallMount
from throughline.chaos.proxy import Path as Way
from throughline.chaos.proxy import TcpProxy
from throughline.embedded import DataFolder, EmbeddedPostgres, EmbeddedRedis, free_port
from throughline.errors import StackError
from throughline.supervision import ProcessService, Supervisor, http_ok
from throughline.supervision.service import Stopping, wait_ready

THREADS = ("worker-1", "worker-2")
PREFORK = "worker-3"
CELL = "worker-cell"
RELAYS = ("relay-1", "relay-2")
API = "api"
LEASE = 10.0
BLOCKED_LIMIT = 6.0
FLOWS = "throughline.chaos.flows"
OLDER_FLOWS = "throughline.chaos.older_flows"

_ROOT = Path(__file__).parents[2]
_POSTGRES = {"max_connections": "120"}
_SMALL_POSTGRES = {"max_wal_size": "128MB", "min_wal_size": "32MB", "shared_buffers": "64MB"}
_POLL = 0.05
_RESTART_PAUSE = 0.5


def modules(name: str) -> str:
    """Return the setting that says where pipelines are."""
    return json.dumps([name])


class ChaosStack:
    """PostgreSQL, Redis, an API, two relays, two threads workers, a prefork worker and the cell, all on loopback.

    Each process reaches Redis through a proxy of its own; API and first worker reach PostgreSQL through one, too. A
    process that ends unasked is started again, as any supervisor would, while ``wait`` is called, and noted in
    ``ended``, unless its exit code is in ``expected_ends``.
    """

    def __init__(self, folder: DataFolder, background: Background, *, small: SmallMount | None) -> None:
        self._folder = folder
        self.background = background
        self.small = small
        home = small.path / "postgres" if small else folder.postgres
        settings = _POSTGRES | (_SMALL_POSTGRES if small else {})
        self.postgres = EmbeddedPostgres(home, log_file=folder.logs / "postgres.log", settings=settings)
        self.redis = EmbeddedRedis(folder.redis, log_file=folder.logs / "redis.log")
        self.services: dict[str, ProcessService] = {}
        self.redis_ways: dict[str, TcpProxy] = {}
        self.postgres_ways: dict[str, TcpProxy] = {}
        self.ended: list[str] = []
        self.expected_ends: frozenset[int] = frozenset()
        self.api_url = ""
        self._collector: TcpProxy | None = None
        self._launch_at: dict[str, float] = {}
        self._killed: set[str] = set()
        self._environment: dict[str, str] = {}
        self._environments: dict[str, tuple[dict[str, str], dict[str, str]]] = {}

    def start(self, supervisor: Supervisor) -> None:
        """Start everything; a ``StackError`` when something doesn't start."""
        supervisor.start(self.postgres, self.redis)
        upgrade(DatabaseSettings(url=SecretStr(self.postgres.url)))
        self._collector = self._proxy(1, way=Way.REFUSED)
        self._environment = self._common()
        port = free_port()
        self.api_url = f"http://127.0.0.1:{port}"
        self._add(API, ready=f"{self.api_url}/health/ready", postgres_way=True, THROUGHLINE_API_PORT=str(port))
        for name in RELAYS:
            self._add_metered(name, "THROUGHLINE_RELAY_METRICS_PORT")
        for name in THREADS:
            self._add_metered(name, "THROUGHLINE_WORKER_METRICS_PORT", postgres_way=name == THREADS[0])
        self._add(PREFORK, THROUGHLINE_WORKER_POOL="prefork", THROUGHLINE_WORKER_CONCURRENCY="2")
        self._add(CELL, THROUGHLINE_WORKER_CELL="true")
        supervisor.start(*self.services.values())

    @property
    def collector(self) -> TcpProxy:
        """What stands where the collector should be; it refuses, and can be made to swallow."""
        if self._collector is None:
            raise StackError("the stack was not started")
        return self._collector

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers that every run may go to."""
        return (*THREADS, PREFORK)

    def worker_name(self, name: str) -> str:
        """Return how the names of a worker's leases begin, in its latest start."""
        return f"worker-{self.services[name].pid}@"

    def wait(self, seconds: float, *, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass and look after the processes; False when ``until`` didn't come true in time."""
        deadline = time.monotonic() + seconds
        while True:
            self._look_after()
            if until is not None and until():
                return True
            if time.monotonic() >= deadline:
                return until is None
            time.sleep(_POLL)

    def kill(self, name: str) -> None:
        """SIGKILL a process of ours; ``wait`` starts it again."""
        self._killed.add(name)
        self.services[name].kill()

    def restart(self, name: str, **changes: str) -> None:
        """SIGTERM a process, start it and wait until it is ready; ``changes`` to its environment last until the next.

        One that doesn't end within its grace is noted as one that ended unasked.
        """
        service = self.services[name]
        stopping = Stopping(service)
        while not stopping.step():
            time.sleep(_POLL / 5)
        if stopping.killed:
            self.ended.append(f"{name} did not stop within its grace and was killed")
        environment, usual = self._environments[name]
        environment.clear()
        environment.update(usual | changes)
        service.launch()
        wait_ready(service)

    def switch_redis(self, way: Way, *, workers_only: bool = False) -> None:
        """Change the way of everybody, or of the workers alone, to Redis."""
        for name, proxy in self.redis_ways.items():
            if not (workers_only and name in RELAYS):
                proxy.switch(way)

    @contextmanager
    def redis_client(self) -> Iterator[redis.Redis]:
        """Talk to Redis itself, past the proxies."""
        client = redis.Redis.from_url(self.redis.url, socket_timeout=5.0)
        try:
            yield client
        finally:
            client.close()

    def log(self, name: str) -> list[str]:
        """Return the last lines that the latest start of a process wrote."""
        return self.services[name].process.log.tail(200)

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a process that reaches both servers directly."""
        return self._environment | variables

    def _look_after(self) -> None:
        for name, service in self.services.items():
            if service.exit_code() is None:
                continue
            now = time.monotonic()
            if name not in self._launch_at:
                self._launch_at[name] = now + _RESTART_PAUSE
                if name not in self._killed and service.exit_code() not in self.expected_ends:
                    self.ended.append(str(service.failure()).splitlines()[0])
                self._killed.discard(name)
            elif now >= self._launch_at[name]:
                del self._launch_at[name]
                service.launch()

    def _common(self) -> dict[str, str]:
        own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        return own | {
            "PYTHONPATH": path,
            "THROUGHLINE_DATABASE_URL": self.postgres.url,
            "THROUGHLINE_REDIS_URL": self.redis.url,
            "THROUGHLINE_PIPELINES_MODULES": modules(FLOWS),
            "THROUGHLINE_TELEMETRY_ENDPOINT": f"http://127.0.0.1:{self.collector.port}",
            "THROUGHLINE_RELAY_METRICS_PORT": "0",
            "THROUGHLINE_WORKER_METRICS_PORT": "0",
            "THROUGHLINE_WORKER_BLOCKED_LIMIT": f"{BLOCKED_LIMIT:g}",
            "THROUGHLINE_LOG_FORMAT": "json",
        }

    def _add_metered(self, name: str, variable: str, *, postgres_way: bool = False) -> None:
        port = free_port()
        ready = f"http://127.0.0.1:{port}/metrics"
        self._add(name, ready=ready, postgres_way=postgres_way, **{variable: str(port)})

    def _add(self, name: str, *, ready: str | None = None, postgres_way: bool = False, **variables: str) -> None:
        if name != API:
            proxy = self.redis_ways[name] = self._proxy(self.redis.port)
            variables["THROUGHLINE_REDIS_URL"] = proxy.through(self.redis.url)
        if postgres_way:
            proxy = self.postgres_ways[name] = self._proxy(self.postgres.port)
            variables["THROUGHLINE_DATABASE_URL"] = proxy.through(self.postgres.url)
        usual = self.environment(**variables)
        environment = dict(usual)
        self._environments[name] = environment, usual
        self.services[name] = ProcessService(
            name,
            [sys.executable, "-m", "throughline", name.partition("-")[0]],
            logs=self._folder.logs,
            env=environment,
            ready=http_ok(ready) if ready else None,
            ready_timeout=60.0,
            stop_timeout=10.0,
        )

    def _proxy(self, port: int, *, way: Way = Way.OPEN) -> TcpProxy:
        proxy = TcpProxy(self.background, port, path=way)
        proxy.start()
        return proxy
