import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from migrations import upgrade
from settings import Settings
from throughline.cli.database import reachable
from throughline.embedded import DataFolder, EmbeddedPostgres, EmbeddedRedis, ExternalServer, free_port
from throughline.local.ports import (
    CELL_PORTS,
    Listener,
    cell_port,
    listeners,
    ports_per_worker,
    require_free_ports,
    require_own_ports,
)
from throughline.local.secrets import kept_secret
from throughline.supervision import ProcessService, Supervisor, http_ok

_ROOT = Path(__file__).parents[2]
_STOP_MARGIN = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """What to start. Without a URL a server of our own is started over the data folder; ports: 0 takes any free one.

    ``free_ports`` puts every process of ours on a free port, whatever the settings say.
    """

    database_url: str | None = None
    redis_url: str | None = None
    postgres_port: int = 0
    redis_port: int = 0
    workers: int = 1
    free_ports: bool = False


class LocalStack:
    """PostgreSQL, Redis, API, relay, workers, cell and Flower under one supervisor; one with a URL is only used."""

    def __init__(self, settings: Settings, plan: StackPlan, *, folder: DataFolder) -> None:
        self._plan = plan
        self._folder = folder
        self.postgres = (
            ExternalServer(name="postgres", url=plan.database_url, setting="THROUGHLINE_DATABASE_URL")
            if plan.database_url
            else EmbeddedPostgres(
                folder.postgres,
                port=plan.postgres_port,
                log_file=folder.logs / "postgres.log",
                port_setting="--postgres-port",
            )
        )
        self.redis = (
            ExternalServer(name="redis", url=plan.redis_url, setting="THROUGHLINE_REDIS_URL")
            if plan.redis_url
            else EmbeddedRedis(
                folder.redis, port=plan.redis_port, log_file=folder.logs / "redis.log", port_setting="--redis-port"
            )
        )
        self._settings = settings
        self.settings = settings
        self.flower_password = ""

    @property
    def api_url(self) -> str:
        """Where the API answers."""
        return f"http://{self.settings.api.host}:{self.settings.api.port}"

    @property
    def flower_url(self) -> str:
        """Where Flower answers, to ``settings.flower.user`` and ``flower_password``."""
        flower = self.settings.flower
        return f"http://{flower.host}:{flower.port}{flower.url_prefix}"

    def start(self, supervisor: Supervisor, *, say: Callable[[str], None]) -> None:
        """Start everything, each when what it needs is ready.

        Raises:
            StackError: a port is taken or wanted twice, or a process could not be started, ended, or was not ready in
                time.
            ThroughlineError: the database can't be reached or migrated.

        """
        if not self._plan.free_ports:
            require_own_ports([*self._server_ports(), *listeners(self._settings, workers=self._plan.workers)])
            require_free_ports(self._settings, workers=self._plan.workers)
        self._start_servers(supervisor, say=say)
        self._settle()
        say("migrating the database")
        with reachable(self.settings.database):
            upgrade(self.settings.database)
        supervisor.start(*self._processes())

    @property
    def runners(self) -> tuple[str, ...]:
        """The names of the processes that have imported pipelines."""
        workers = self._plan.workers
        return ("api", *(_worker_name(number, workers) for number in range(workers)), "cell")

    def checker(self) -> ProcessService:
        """Return a process that imports the pipelines as the others do, says what is wrong with them, and ends."""
        return self._process("pipelines", ready=None, command="pipelines check")

    def _start_servers(self, supervisor: Supervisor, *, say: Callable[[str], None]) -> None:
        own = []
        for server in (self.postgres, self.redis):
            if isinstance(server, ExternalServer):
                say(f"{server.name}: using {server.place}")
            else:
                own.append(server)
        supervisor.start(*own)

    def _server_ports(self) -> Iterator[Listener]:
        plan = self._plan
        if not plan.database_url:
            yield Listener(server="postgres", host="127.0.0.1", port=plan.postgres_port, setting="--postgres-port")
        if not plan.redis_url:
            yield Listener(server="redis", host="127.0.0.1", port=plan.redis_port, setting="--redis-port")

    def _settle(self) -> None:
        """Fix ports, URLs and passwords, now that the servers have theirs."""
        own = self._settings.flower.password
        self.flower_password = own.get_secret_value() if own else kept_secret(self._folder.path / "flower-password")
        ports = _free_ports(self._settings, self._plan.workers) if self._plan.free_ports else self._settings
        api = ports.api.model_copy(update={"port": ports.api.port or free_port()})
        flower = ports.flower.model_copy(
            update={"port": ports.flower.port or free_port(), "password": SecretStr(self.flower_password)}
        )
        if api.flower_url is None:
            api = api.model_copy(update={"flower_url": f"http://{flower.host}:{flower.port}{flower.url_prefix}"})
        self.settings = ports.model_copy(
            update={
                "database": ports.database.model_copy(update={"url": SecretStr(self.postgres.url)}),
                "redis": ports.redis.model_copy(update={"url": SecretStr(self.redis.url)}),
                "api": api,
                "flower": flower,
            }
        )

    def _processes(self) -> list[ProcessService]:
        settings = self.settings
        relay, worker = settings.relay, settings.worker
        flower_url = f"http://{settings.flower.host}:{settings.flower.port}{settings.flower.url_prefix}"
        processes = [
            self._process("api", ready=f"{self.api_url}/health/ready", grace=settings.api.graceful_timeout),
            self._process("relay", ready=_metrics_url(relay.metrics_host, relay.metrics_port)),
        ]
        for number in range(self._plan.workers):
            port = worker.metrics_port + ports_per_worker(settings) * number if worker.metrics_port else 0
            processes.append(
                self._process(
                    _worker_name(number, self._plan.workers),
                    ready=_worker_url(worker.metrics_host, port, prefork=worker.pool == "prefork"),
                    grace=worker.stop_grace,
                    THROUGHLINE_WORKER_METRICS_PORT=str(port),
                )
            )
        processes.append(self._cell())
        processes.append(self._process("flower", ready=f"{flower_url}/healthcheck"))
        return processes

    def _cell(self) -> ProcessService:
        """The process that takes the runs under whom others died; what is set for the workers is not for it."""
        worker = self.settings.worker
        port = cell_port(self.settings, workers=self._plan.workers) if worker.metrics_port else 0
        return self._process(
            "cell",
            command="worker",
            ready=_worker_url(worker.metrics_host, port, prefork=True),
            grace=worker.stop_grace,
            THROUGHLINE_WORKER_CELL="true",
            THROUGHLINE_WORKER_POOL="prefork",
            THROUGHLINE_WORKER_CONCURRENCY="1",
            THROUGHLINE_WORKER_SLOTS="1",
            THROUGHLINE_WORKER_PREFETCH_MULTIPLIER="1",
            THROUGHLINE_WORKER_QUEUES=json.dumps([worker.cell_queue]),
            THROUGHLINE_WORKER_METRICS_PORT=str(port),
        )

    def _process(
        self, name: str, *, ready: str | None, command: str | None = None, grace: float = 5.0, **variables: str
    ) -> ProcessService:
        return ProcessService(
            name,
            [sys.executable, "-m", "throughline", *(command or name.partition("-")[0]).split()],
            logs=self._folder.logs,
            env=self._environment() | variables,
            ready=http_ok(ready) if ready else None,
            ready_timeout=60.0,
            stop_timeout=grace + _STOP_MARGIN,
        )

    def _environment(self) -> dict[str, str]:
        settings = self.settings
        path = os.pathsep.join(part for part in (str(_ROOT), os.environ.get("PYTHONPATH", "")) if part)
        return dict(os.environ) | {
            "PYTHONPATH": path,
            "THROUGHLINE_DATABASE_URL": settings.database.url.get_secret_value(),
            "THROUGHLINE_REDIS_URL": settings.redis.url.get_secret_value(),
            "THROUGHLINE_API_PORT": str(settings.api.port),
            "THROUGHLINE_API_FLOWER_URL": settings.api.flower_url or "",
            "THROUGHLINE_RELAY_METRICS_PORT": str(settings.relay.metrics_port),
            "THROUGHLINE_WORKER_METRICS_PORT": str(settings.worker.metrics_port),
            "THROUGHLINE_FLOWER_PORT": str(settings.flower.port),
            "THROUGHLINE_FLOWER_PASSWORD": self.flower_password,
        }


def _worker_name(number: int, workers: int) -> str:
    return "worker" if workers == 1 else f"worker-{number + 1}"


def _free_ports(settings: Settings, workers: int) -> Settings:
    taken = {free_port() for _ in range(8)}
    while len(taken) < 3:  # noqa: PLR2004 - api, relay and flower
        taken.add(free_port())
    api, relay, flower, *_ = taken
    return settings.model_copy(
        update={
            "api": settings.api.model_copy(update={"port": api}),
            "relay": settings.relay.model_copy(update={"metrics_port": relay}),
            "worker": settings.worker.model_copy(update={"metrics_port": _free_range(workers, settings)}),
            "flower": settings.flower.model_copy(update={"port": flower}),
        }
    )


def _free_range(workers: int, settings: Settings) -> int:
    """Return the first of enough free ports in a row."""
    from throughline.embedded import port_is_free  # noqa: PLC0415 - only the demo and tests come here

    wanted = workers * ports_per_worker(settings) + CELL_PORTS
    while True:
        first = free_port()
        if all(port_is_free(port) for port in range(first, first + wanted)):
            return first


def _worker_url(host: str, port: int, *, prefork: bool) -> str | None:
    """With prefork the children have the metrics, the first of them on the next port."""
    return _metrics_url(host, port + 1 if prefork and port else port)


def _metrics_url(host: str, port: int) -> str | None:
    return f"http://{host}:{port}/metrics" if port else None
