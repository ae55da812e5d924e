import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from benchmarks.database import Database
from benchmarks.loadgen import Orders, Sent
from benchmarks.references.environment import DATABASE, REDIS
from benchmarks.sink_client import SinkClient
from migrations import upgrade
from settings import DatabaseSettings
from throughline.embedded import DataFolder, EmbeddedPostgres, EmbeddedRedis, free_port
from throughline.errors import StackError
from throughline.supervision import ProcessService, Supervisor, http_ok, port_open
from throughline.supervision.service import stop, wait_ready

REFERENCES = "bench_references"
_ROOT = Path(__file__).parents[1]
_POSTGRES = {"max_connections": "300", "max_wal_size": "4GB"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """What of the real thing may be varied."""

    api_processes: int = 1
    workers: int = 2
    traces: str = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Where processes reach the servers, instead of directly."""

    database_url: str
    redis_url: str


class BenchStack:
    """PostgreSQL, Redis and a collector that stay up; everything else is started for the section that wants it."""

    def __init__(self, folder: DataFolder, knobs: Knobs) -> None:
        self.knobs = knobs
        self.folder = folder
        self.postgres = EmbeddedPostgres(folder.postgres, log_file=folder.logs / "postgres.log", settings=_POSTGRES)
        self.redis = EmbeddedRedis(folder.redis, log_file=folder.logs / "redis.log")
        self.services: dict[str, ProcessService] = {}
        self.api_ports: tuple[int, ...] = ()
        self.database_url = ""
        self._metrics_ports: dict[str, int] = {}
        self._database: Database | None = None
        self._sink_port = 0

    def start(self, supervisor: Supervisor) -> None:
        """Start the servers and the collector, and bring the schema up.

        Raises:
            StackError: something doesn't start, or PostgreSQL isn't durable.

        """
        supervisor.start(self.postgres, self.redis)
        self.use(self.postgres.url)
        self._sink_port = self.start_sink("sink")

    def use(self, url: str) -> None:
        """Bring the schema of this database up; processes that start from now on use it."""
        upgrade(DatabaseSettings(url=SecretStr(url)))
        if self._database is not None:
            self._database.close()
        self.database_url, self._database = url, Database(url)

    @property
    def database(self) -> Database:
        """The driver's connection."""
        if self._database is None:
            raise StackError("the stack was not started")
        return self._database

    @property
    def sink(self) -> SinkClient:
        """What asks the collector."""
        return SinkClient(self._sink_port)

    @property
    def pids(self) -> dict[str, int]:
        """The processes that are up, by name."""
        own = {name: service.pid for name, service in self.services.items()}
        return own | {"postgres": self.postgres.pid, "redis": self.redis.pid}

    @property
    def references_url(self) -> str:
        """The references' database."""
        return self.postgres.url_of(REFERENCES)

    def start_sink(self, name: str, *, delay: float = 0.0) -> int:
        """Start a collector that answers after ``delay`` seconds; return its port."""
        port = free_port()
        self._launch(self._python(name, "benchmarks.sink", str(port), str(delay), port=port))
        return port

    def start_api(
        self, ways: Ways | None = None, *, name: str = "api", settings: Mapping[str, str] | None = None
    ) -> None:
        """Start the API processes, each on a port of its own; ``settings`` are further variables."""
        names = [f"{name}-{number}" for number in range(1, self.knobs.api_processes + 1)]
        self._launch(*(self._throughline(one, "THROUGHLINE_API_PORT", ways, settings) for one in names))
        self.api_ports = tuple(self._metrics_ports[one] for one in names)

    def start_relay(self, ways: Ways | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        """Start one relay; ``settings`` are further variables."""
        self._launch(self._throughline("relay", "THROUGHLINE_RELAY_METRICS_PORT", ways, settings))

    def hold_relay(self) -> None:
        """Keep the relay, which is up, from doing anything, so that a backlog can be made."""
        self.services["relay"].send(signal.SIGSTOP)

    def let_relay_go(self) -> None:
        """End ``hold_relay``."""
        self.services["relay"].send(signal.SIGCONT)

    def start_workers(
        self,
        ways: Ways | None = None,
        *,
        name: str = "worker",
        count: int | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start worker processes of the threads pool; ``settings`` are further variables."""
        names = [f"{name}-{number}" for number in range(1, (count or self.knobs.workers) + 1)]
        self._launch(*(self._throughline(one, "THROUGHLINE_WORKER_METRICS_PORT", ways, settings) for one in names))

    def metrics(self, name: str) -> str:
        """Return what a process tells at ``/metrics``, as text."""
        connection = HTTPConnection("127.0.0.1", self._metrics_ports[name], timeout=10)
        try:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def start_reference_api(self, name: str) -> int:
        """Serve ``plain`` or ``bare``; return its port."""
        port = free_port()
        self._launch(
            self._python(
                f"{name}-api",
                "benchmarks.references.serve",
                f"benchmarks.references.{name}_api:app",
                str(port),
                ready=f"http://127.0.0.1:{port}/health/ready",
            )
        )
        return port

    def start_celery(self, name: str, module: str, *options: str) -> None:
        """Start a reference's Celery worker: prefork with two children."""
        argv = [sys.executable, "-m", "celery", "-A", module, "worker", "--pool=prefork", "-c", "2", "-l", "WARNING"]
        self._launch(self._service(name, [*argv, *options], self.environment()))

    def start_delay(self, port: int, milliseconds: float) -> int:
        """Start a proxy that makes every round trip to ``port`` so much longer; return its port."""
        here = free_port()
        arguments = (str(here), str(port), str(milliseconds))
        self._launch(self._python(f"delay-{port}", "benchmarks.delay_proxy", *arguments, port=here))
        return here

    def start_responder(self) -> int:
        """Start what answers everything; return its port."""
        port = free_port()
        self._launch(self._python("responder", "benchmarks.responder", str(port), port=port))
        return port

    def stop(self, *names: str) -> None:
        """Stop the processes whose names begin so, the last started first."""
        for name in reversed(tuple(self.services)):
            if name.startswith(names):
                stop(self.services.pop(name))

    def close(self) -> None:
        """Leave no process of ours."""
        for service in self.services.values():
            service.kill()
        if self._database is not None:
            self._database.close()

    def send(self, orders: Orders) -> Sent:
        """Run the load generator to its end."""
        with self.sending(orders) as process:
            return read_sent(process)

    @contextmanager
    def sending(self, orders: Orders) -> Iterator["subprocess.Popen[bytes]"]:
        """Run the load generator; what it says at its end is for ``read_sent``."""
        argv = [sys.executable, "-m", "benchmarks.loadgen", json.dumps(asdict(orders))]
        with subprocess.Popen(
            argv, env=self.environment(), cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def environment(self) -> dict[str, str]:
        """Return the environment of every process: ours without settings of Throughline and OpenTelemetry."""
        own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        return own | {"PYTHONPATH": path, DATABASE: self.references_url, REDIS: self.redis_url(1)}

    def settings_environment(self, ways: Ways | None = None) -> dict[str, str]:
        """Return ``environment`` with the settings of the real thing."""
        real = {
            "THROUGHLINE_DATABASE_URL": ways.database_url if ways else self.database_url,
            "THROUGHLINE_REDIS_URL": ways.redis_url if ways else self.redis.url,
            "THROUGHLINE_PIPELINES_MODULES": '["benchmarks.flow"]',
            "THROUGHLINE_LOG_FORMAT": "json",
        }
        if self.knobs.traces != "off":
            real["THROUGHLINE_TELEMETRY_ENDPOINT"] = f"http://127.0.0.1:{self._sink_port}"
            real["THROUGHLINE_TELEMETRY_SAMPLE_RATIO"] = self.knobs.traces
        return self.environment() | real

    def redis_url(self, number: int) -> str:
        """Return the URL of one of Redis's databases; 0 is the real thing's, 1 the references'."""
        return urlsplit(self.redis.url)._replace(path=f"/{number}").geturl()

    def through(self, url: str, port: int) -> str:
        """Return ``url`` with another port on loopback."""
        parts = urlsplit(url)
        credentials = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()

    def _throughline(
        self, name: str, port_variable: str, ways: Ways | None, settings: Mapping[str, str] | None
    ) -> ProcessService:
        port, kind = free_port(), name.partition("-")[0]
        self._metrics_ports[name] = port
        env = self.settings_environment(ways) | {port_variable: str(port), **(settings or {})}
        page = "health/ready" if kind == "api" else "metrics"
        argv = [sys.executable, "-m", "throughline", kind]
        return self._service(name, argv, env, ready=f"http://127.0.0.1:{port}/{page}")

    def _python(
        self, name: str, module: str, *arguments: str, port: int | None = None, ready: str | None = None
    ) -> ProcessService:
        return self._service(
            name, [sys.executable, "-m", module, *arguments], self.environment(), port=port, ready=ready
        )

    def _service(
        self,
        name: str,
        argv: list[str],
        env: Mapping[str, str],
        *,
        port: int | None = None,
        ready: str | None = None,
    ) -> ProcessService:
        check = http_ok(ready) if ready else (lambda: port_open(port)) if port else None
        return ProcessService(
            name, argv, logs=self.folder.logs, env=env, cwd=_ROOT, ready=check, ready_timeout=60.0, stop_timeout=15.0
        )

    def _launch(self, *services: ProcessService) -> None:
        for service in services:
            self.services[service.name] = service
            service.launch()
        for service in services:
            wait_ready(service)


def read_sent(process: "subprocess.Popen[bytes]") -> Sent:
    """Wait for the load generator's end and read what it says then; its stdin stays open until then.

    Raises:
        StackError: it ended without a word.

    """
    said = process.stdout.read() if process.stdout else b""
    if not said:
        raise StackError("the load generator ended without a result; its words are above")
    return Sent(**json.loads(said))
