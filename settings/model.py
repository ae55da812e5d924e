import json
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    TypeAdapter,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from settings.names import hidden_names
from settings.web_address import check_path, check_web_address

Port = Annotated[int, Field(ge=0, le=65535)]
LogLevel: TypeAlias = Literal["DEBUG", "INFO", "WARNING", "ERROR"]

_TRUTH = TypeAdapter(bool)


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        message = 'must be a JSON list, such as ["one", "two"]'
        raise ValueError(message) from None


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_from_json)]
"""A JSON list in the environment. Decoded here, not by pydantic-settings, whose error would not name the variable."""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


class Group(BaseModel):
    """Settings that belong together; frozen, and a name it doesn't know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DatabaseSettings(Group):
    """PostgreSQL, where the truth is."""

    url: SecretStr = Field(
        default=SecretStr("postgresql://throughline@127.0.0.1:5432/throughline"),
        description="PostgreSQL URL (postgresql://user:password@host:port/name?sslmode=…).",
    )
    pool_size: PositiveInt = Field(default=10, description="Connections kept open, per process.")
    pool_timeout: PositiveFloat = Field(default=2.0, description="Seconds to wait for a free connection.")
    connect_timeout: PositiveFloat = Field(default=5.0, description="Seconds to wait for a new connection.")
    statement_timeout: PositiveFloat = Field(default=10.0, description="Seconds one statement may take.")
    prepared_statements: bool = Field(
        default=True, description="Off behind a transaction pooler such as PgBouncer before 1.21."
    )

    @field_validator("url")
    @classmethod
    def _is_postgresql(cls, value: SecretStr) -> SecretStr:
        scheme = value.get_secret_value().partition("://")[0].partition("+")[0]
        if scheme not in {"postgresql", "postgres"}:
            message = "must be a postgresql:// URL"
            raise ValueError(message)
        return value


class RedisSettings(Group):
    """Redis, which carries run ids to the workers and holds nothing that can't be made again."""

    url: SecretStr = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis URL (redis://, rediss:// for TLS, or unix://).",
    )
    socket_timeout: PositiveFloat = Field(
        default=5.0, description="Seconds a command may take; bounds how long a half-open connection stays unnoticed."
    )
    connect_timeout: PositiveFloat = Field(default=3.0, description="Seconds to wait for a new connection.")
    health_check_interval: PositiveFloat = Field(
        default=5.0, description="Seconds of idleness after which a connection is tested before use."
    )
    visibility_timeout: PositiveInt = Field(
        default=300, description="Seconds until Redis redelivers an unacknowledged message. The leases act long before."
    )

    @field_validator("url")
    @classmethod
    def _is_redis(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value().partition("://")[0] not in {"redis", "rediss", "unix"}:
            message = "must be a redis://, rediss:// or unix:// URL"
            raise ValueError(message)
        return value


class ApiSettings(Group):
    """The HTTP side."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8000, description="Port to listen on.")
    max_body_bytes: PositiveInt = Field(default=1_048_576, description="Largest request body, in bytes.")
    flush_max_rows: PositiveInt = Field(default=1024, description="Events that share one commit, at most.")
    flush_max_bytes: PositiveInt = Field(default=4_194_304, description="Bytes of data that share one commit, at most.")
    flush_queue_max: PositiveInt = Field(
        default=2048, description="Events that may wait for a commit; beyond it the answer is 503 with Retry-After."
    )
    flushers: PositiveInt = Field(
        default=1, description="Commits under way side by side; one stores more, in fewer and larger commits."
    )
    batch_max_events: PositiveInt = Field(default=1000, description="Events in one request, at most.")
    accept_timeout: PositiveFloat = Field(
        default=1.5, description="Seconds until an accept that got no commit is a 503."
    )
    shed_after: PositiveFloat = Field(
        default=1.0,
        description="Seconds to wait for a commit from which on, by how long commits take, an event is not taken: "
        "a 503 with Retry-After at once.",
    )
    graceful_timeout: PositiveFloat = Field(default=5.0, description="Seconds open requests have to end at SIGTERM.")
    flower_url: str | None = Field(
        default=None, description="Where people open Flower; an attempt then links to its task there."
    )
    trace_url_template: str | None = Field(
        default=None,
        description="Where people open a trace, such as http://127.0.0.1:16686/trace/{trace_id}; {trace_id} is filled "
        "in.",
    )

    @field_validator("flower_url", "trace_url_template")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        return check_web_address(value) if value else None

    @field_validator("trace_url_template")
    @classmethod
    def _names_the_trace(cls, value: str | None) -> str | None:
        if value and "{trace_id}" not in value:
            message = "must have {trace_id} where the trace's id belongs"
            raise ValueError(message)
        return value


class RelaySettings(Group):
    """The process that publishes what is due and recovers what was left behind."""

    poll_interval: PositiveFloat = Field(default=1.0, description="Seconds between looks when no NOTIFY comes.")
    take_max: PositiveInt = Field(default=1000, description="Runs taken and published at once, at most.")
    window: PositiveInt = Field(default=2000, description="Sent but unclaimed runs kept in Redis, per queue.")
    message_max_runs: PositiveInt = Field(default=100, description="Run ids in one message, at most.")
    single_below: PositiveInt = Field(
        default=4,
        description="Up to so many due runs, each gets a message of its own, "
        "and more share about as many. Prefork workers want as many as they have children.",
    )
    take_lease: PositiveFloat = Field(
        default=15.0, description="Seconds a taken run stays invisible to relays; a relay that dies costs so much."
    )
    republish_after: PositiveFloat = Field(
        default=20.0,
        description="Seconds until a sent run that nobody claimed is sent again, unless its message still waits in "
        "Redis.",
    )
    metrics_port: Port = Field(default=9101, description="Port of /metrics; 0 serves none.")
    metrics_host: str = Field(default="127.0.0.1", description="Address of /metrics.")


class WorkerSettings(Group):
    """The Celery side."""

    pool: Literal["threads", "prefork"] = Field(
        default="threads",
        description="threads: one event loop a process, for nodes that wait; prefork: for nodes that compute.",
    )
    concurrency: PositiveInt = Field(
        default=8, description="Messages handled side by side (threads), or child processes (prefork)."
    )
    slots: PositiveInt = Field(
        default=256, description="Runs under way at once in one process; up to 64 of them in threads (def run)."
    )
    prefetch_multiplier: PositiveInt = Field(default=1, description="Messages fetched ahead, times concurrency.")
    queues: Names = Field(default=("default",), description='Queues to consume, as a JSON list: ["default"].')
    lease: PositiveFloat = Field(
        default=10.0, description="Seconds a process holds its runs without renewing; renewed three times as often."
    )
    acknowledge_after: PositiveFloat = Field(
        default=5.0, description="Seconds until a message with slow runs is acknowledged and left to the lease."
    )
    stop_grace: PositiveFloat = Field(
        default=5.0, description="Seconds runs have to end at SIGTERM before they are cancelled and handed back."
    )
    blocked_limit: PositiveFloat = Field(
        default=30.0,
        description="Seconds a node may block the event loop before the process is ended, with the line on stderr; "
        "in the cell no longer than the lease.",
    )
    metrics_port: Port = Field(
        default=9102, description="Port of /metrics; 0 serves none. A prefork child n serves on this port + 1 + n."
    )
    metrics_host: str = Field(default="127.0.0.1", description="Address of /metrics.")
    cell: bool = Field(
        default=False,
        description="Be the cell: a prefork worker with one child that runs one suspect of killing its process at a "
        "time. Implies pool, concurrency, slots, prefetch_multiplier and queues; another value for one is an error.",
    )
    cell_queue: str = Field(
        default="cell", min_length=1, description="Queue of runs under whom two processes have died; for cells alone."
    )
    cell_deaths: PositiveInt = Field(
        default=2,
        description="Deaths alone in the cell, by its process's own doing, after which a run ends failed, as poisoned.",
    )
    cell_unexplained_deaths: PositiveInt = Field(
        default=10,
        description="Deaths alone in the cell that came from outside, or that nobody saw, after which a run is "
        "poisoned all the same.",
    )

    @model_validator(mode="before")
    @classmethod
    def _make_cell(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not _TRUTH.validate_python(values.get("cell", False)):
            return values
        return cls._implied(values.get("cell_queue", cls.model_fields["cell_queue"].default)) | values

    @model_validator(mode="after")
    def _cell_is_apart(self) -> Self:
        if self.cell:
            wrong = [name for name, value in self._implied(self.cell_queue).items() if getattr(self, name) != value]
            if wrong:
                variables = ", ".join(f"THROUGHLINE_WORKER_{name.upper()}" for name in wrong)
                message = f"the cell runs one run at a time and nothing but suspects: leave {variables} unset"
                raise ValueError(message)
        elif self.cell_queue in self.queues:
            message = f"only the cell consumes {self.cell_queue!r}: set THROUGHLINE_WORKER_CELL, or take it from queues"
            raise ValueError(message)
        return self

    @staticmethod
    def _implied(queue: str) -> dict[str, Any]:
        return {"pool": "prefork", "concurrency": 1, "slots": 1, "prefetch_multiplier": 1, "queues": (queue,)}


class RetentionSettings(Group):
    """How long what is over is kept. The relays remove it."""

    days: NonNegativeFloat = Field(
        default=30.0,
        description="Days an event is kept after its last run succeeded or was cancelled; 0 keeps it for ever. "
        "Dead runs, unrouted events and what is open are kept in any case.",
    )
    batch: PositiveInt = Field(default=500, description="Runs whose events are removed in one transaction, at most.")
    interval: PositiveFloat = Field(default=60.0, description="Seconds between looks when nothing is left to remove.")


class PipelineSettings(Group):
    """Which pipelines there are."""

    modules: Names = Field(
        default=(), description='Modules or packages with pipelines of your own, as a JSON list: ["acme.flows"].'
    )
    builtin: bool = Field(default=True, description="Also load the pipelines found in pipelines/flows/.")
    reload: bool = Field(
        default=True,
        description="Whether throughline up restarts API and workers when a pipeline's source changes.",
    )


class SloSettings(Group):
    """What is promised of taking events in; what is promised of runs, their pipelines declare."""

    ingest_within: PositiveFloat = Field(default=0.5, description="Seconds within which a request with events is done.")
    ingest_share: float = Field(
        default=0.999,
        gt=0.0,
        lt=1.0,
        description="Share of the requests with events that is to be so; 5xx counts against it, 4xx doesn't count.",
    )


class TelemetrySettings(Group):
    """Traces."""

    endpoint: str | None = Field(
        default=None,
        description="OTLP/HTTP base URL (http://collector:4318). Without one, OTEL_EXPORTER_OTLP_ENDPOINT; "
        "without both, spans are made for their ids and exported nowhere.",
    )
    headers: SecretStr | None = Field(
        default=None, description="Headers for the exporter: name=value,name=value. They may hold credentials."
    )
    sample_ratio: float = Field(
        default=1.0,
        ge=0.0,
        le=1.0,
        description="Share of the traces begun here that are kept; a caller's choice stands.",
    )
    queue_size: PositiveInt = Field(
        default=8192, description="Ended spans kept for export; more are dropped, and counted."
    )
    export_timeout: PositiveFloat = Field(default=5.0, description="Seconds one export may take.")


class LogSettings(Group):
    """Logs."""

    level: LogLevel = Field(
        default="INFO", description="Lowest level written; `throughline log-level` changes it for a while."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="auto: readable at a terminal, JSON elsewhere."
    )
    redact: Annotated[Names, AfterValidator(hidden_names)] = Field(
        default=(),
        description="Names whose values are hidden in log lines, span messages and stored errors, beside those of "
        'passwords and the like, as a JSON list: ["customer_email", "address.street"].',
    )


class FlowerSettings(Group):
    """Flower, for people who look at Celery's own view."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=5555, description="Port to listen on.")
    user: str = Field(default="throughline", description="Name for basic authentication.")
    password: SecretStr | None = Field(
        default=None, description="Password for basic authentication; Flower does not start without one."
    )
    url_prefix: str = Field(default="", description="Path under which a proxy serves Flower, such as /flower.")
    max_tasks: PositiveInt = Field(
        default=5000, description="Tasks kept in memory, the latest; 6 kB each with one run, 30 kB with a hundred."
    )
    read_only: bool = Field(
        default=False, description="Show only: no stopping of workers, no revoking or sending of tasks."
    )

    @field_validator("user")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not value or ":" in value or not _is_plain(value):
            message = "must be printable ASCII without a colon"
            raise ValueError(message)
        return value

    @field_validator("password")
    @classmethod
    def _can_be_typed(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        if not _is_plain(value.get_secret_value()):
            message = "must be printable ASCII, as Flower compares it"
            raise ValueError(message)
        return value

    @field_validator("url_prefix")
    @classmethod
    def _is_a_path(cls, value: str) -> str:
        return check_path(value)


class Settings(BaseSettings):
    """All settings. ``THROUGHLINE_<GROUP>_<NAME>`` in the environment sets one, e.g. ``THROUGHLINE_API_PORT``."""

    model_config = SettingsConfigDict(
        env_prefix="THROUGHLINE_",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    relay: RelaySettings = Field(default_factory=RelaySettings)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    pipelines: PipelineSettings = Field(default_factory=PipelineSettings)
    slo: SloSettings = Field(default_factory=SloSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    log: LogSettings = Field(default_factory=LogSettings)
    flower: FlowerSettings = Field(default_factory=FlowerSettings)
