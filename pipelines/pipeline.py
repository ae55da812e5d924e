import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic, Literal
from uuid import UUID

from pydantic import BaseModel, PydanticUserError

from events import Event, Failed, FailureKind, JsonValue, LimitKey, Retry, new_id
from pipelines.arrivals import AwaitedType, WaitState
from pipelines.awaiting import awaited_by
from pipelines.checks import check_name, check_priority, check_queue, check_timeout, check_types, is_count
from pipelines.context import TaskContext
from pipelines.description import PipelineDescription, describe_limit, describe_steps
from pipelines.errors import InvalidSchemaError, InvalidVersionError
from pipelines.graph import NodeClass, build_steps
from pipelines.journal import NodeRecord
from pipelines.judging import Errors, Judge
from pipelines.limits import Limit, check_limits
from pipelines.paths import check_path
from pipelines.retry import RetryPolicy, check_retry
from pipelines.schema import SchemaT
from pipelines.slo import Slo, check_slo
from pipelines.steps import Step, every
from pipelines.surroundings import REAL, Surroundings
from pipelines.upcasts import Upcast, check_upcasts


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline(Generic[SchemaT]):
    """A named, versioned graph of nodes for one or more event types. Immutable, and checked when it is made.

    ``types`` are exact event types or prefixes (``github.*``). ``edges`` says which node follows which; a router's
    routes say it for the router; a node with neither ends the run. ``timeout`` is the seconds one try may take,
    ``lifetime`` those a run has in all, its tries and waits, from when it was made. ``queue`` is where its runs wait,
    ``retry`` what happens after an error in a node that has no policy of its own. ``slo`` is what is promised of its
    runs, which the alerts hold it to; None promises nothing.

    ``steps`` are what it is made of, by name; in ``all_steps`` stand those within others, too. ``awaits`` are the types
    of events that its nodes wait for.

    ``limits`` hold for its runs across all workers. Runs of a higher ``priority``, 0 to 9, are taken first. One that
    has not begun within ``ttl`` seconds has failed as expired. ``unique`` is a path into the event: while a run with
    the same value there has not ended, a later one that comes due is cancelled.

    ``version`` is raised whenever the graph or the schema changes; a run keeps the one it began in while the program
    has it. ``on_change`` is what becomes of a run whose version is gone and whose done nodes don't match this graph:
    it fails, or all it has done is forgotten and done again. ``upcasts`` turn the data of events that an older version
    accepted into what this one takes: the function at 1 makes version 2's data of version 1's.

    Raises:
        PipelineError: something is wrong; each mistake has a class of its own, and the message says how to mend it.

    """

    name: str
    version: int = 1
    types: tuple[str, ...]
    schema: type[SchemaT]
    start: NodeClass
    edges: Mapping[NodeClass, NodeClass] = field(default_factory=dict)
    timeout: float = 300.0
    lifetime: float | None = None
    queue: str = "default"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    slo: Slo | None = field(default_factory=Slo)
    on_change: Literal["fail", "restart"] = "fail"
    upcasts: Mapping[int, Upcast] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    priority: int = 0
    ttl: float | None = None
    unique: str | None = None
    steps: Mapping[str, Step] = field(init=False, repr=False)
    all_steps: Mapping[str, Step] = field(init=False, repr=False)
    awaits: tuple[AwaitedType, ...] = field(init=False, repr=False)
    judge: Judge = field(init=False, repr=False)
    json_schema: Mapping[str, JsonValue] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name("a pipeline's name", self.name)
        place = f"pipeline {self.name!r}"
        if not is_count(self.version):
            raise InvalidVersionError(f"{place}: version is {self.version!r}; give a whole number from 1 up")
        check_types(place, self.types)
        check_queue(place, self.queue)
        check_timeout(place, self.timeout)
        if self.lifetime is not None:
            check_timeout(place, self.lifetime, name="lifetime")
        check_retry(place, self.retry)
        check_slo(place, self.slo, timeout=self.timeout)
        if self.on_change not in ("fail", "restart"):
            raise InvalidVersionError(f"{place}: on_change is {self.on_change!r}; give 'fail' or 'restart'")
        check_upcasts(place, self.upcasts, version=self.version)
        json_schema = _json_schema(place, self.schema)
        self._check_policies(place)
        steps = build_steps(self.name, start=self.start, edges=self.edges, schema=self.schema)
        for attribute, value in (
            ("json_schema", MappingProxyType(json_schema)),
            ("edges", MappingProxyType(dict(self.edges))),
            ("upcasts", MappingProxyType(dict(sorted(self.upcasts.items())))),
            ("steps", MappingProxyType(steps)),
            ("all_steps", MappingProxyType({step.name: step for step in every(steps.values())})),
            ("awaits", awaited_by(steps.values())),
            ("judge", Judge(steps.values(), self.retry)),
        ):
            object.__setattr__(self, attribute, value)

    def _check_policies(self, place: str) -> None:
        check_limits(place, self.limits, schema=self.schema)
        check_priority(place, self.priority)
        if self.ttl is not None:
            check_timeout(place, self.ttl, name="ttl")
        if self.unique is not None:
            check_path(f"{place}: unique", self.unique, schema=self.schema)

    def context(  # noqa: PLR0913 - what storage knows of a run
        self,
        event: Event,
        *,
        run_id: UUID | None = None,
        attempt: int = 1,
        errors_by_node: Mapping[str | None, int] | None = None,
        done: Mapping[tuple[str, int], NodeRecord] | None = None,
        waits: Mapping[str, WaitState] | None = None,
        permits: Iterable[LimitKey] = (),
        age: float = 0.0,
        accepted_version: int | None = None,
        surroundings: Surroundings = REAL,
    ) -> TaskContext[SchemaT]:
        """Return the context of one try, whose time runs from now on; the run was made ``age`` seconds ago.

        ``accepted_version`` is the pipeline's that the event was checked against, where that isn't this one's.
        """
        now = surroundings.monotonic()
        expires = math.inf if self.lifetime is None else now + self.lifetime - age
        return TaskContext(
            event=event,
            run_id=run_id or new_id(),
            pipeline=self.name,
            schema=self.schema,
            deadline=min(now + self.timeout, expires),
            expires=expires,
            attempt=attempt,
            errors_by_node=MappingProxyType(dict(errors_by_node or {})),
            done=MappingProxyType(dict(done or {})),
            waits=MappingProxyType(dict(waits or {})),
            permits=frozenset(permits),
            upcasts=self._upcasts_from(accepted_version),
            surroundings=surroundings,
        )

    def _upcasts_from(self, accepted: int | None) -> Mapping[int, Upcast]:
        return {} if accepted is None else {number: to for number, to in self.upcasts.items() if number >= accepted}

    def decide(self, error: BaseException, context: TaskContext[SchemaT], *, node: str | None = None) -> Retry | Failed:
        """Say what an error of ``node`` means for the run; None where it came from none of them.

        A node with a policy of its own is judged by its own errors alone, everything else by the rest of them. What
        would be tried again after the run's lifetime has failed, for want of time.
        """
        return self.decide_all(((node, error),), context)

    def decide_all(self, errors: Errors, context: TaskContext[SchemaT], *, of: str = "") -> Retry | Failed:
        """Say the same of errors, by node, of several nodes side by side within the node ``of``: ``Judge.of_all``."""
        decided = self.judge.of_all(errors, context.errors_by_node, of=of, draw=context.surroundings.draw)
        if isinstance(decided, Retry) and context.surroundings.monotonic() + decided.delay >= context.expires:
            return Failed(kind=FailureKind.TIMEOUT, error=decided.error)
        return decided

    def describe(self) -> PipelineDescription:
        """Return what people and the API are told about it."""
        return PipelineDescription(
            name=self.name,
            version=self.version,
            types=self.types,
            queue=self.queue,
            timeout=self.timeout,
            lifetime=self.lifetime,
            max_attempts=self.retry.max_attempts,
            limits=tuple(describe_limit(limit) for limit in self.limits),
            priority=self.priority,
            ttl=self.ttl,
            unique=self.unique,
            start=self.start.name,
            nodes=describe_steps(self.steps.values()),
            schema_name=self.schema.__name__,
            json_schema=dict(self.json_schema),
        )


def _json_schema(place: str, schema: Any) -> dict[str, JsonValue]:
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise InvalidSchemaError(f"{place}: schema is {schema!r}; give a class derived from EventSchema")
    try:
        made: dict[str, JsonValue] = schema.model_json_schema()
    except PydanticUserError as error:
        reason = str(error).splitlines()[0]
        raise InvalidSchemaError(
            f"{place}: {schema.__name__} has no JSON schema ({reason}); use types of JSON"
        ) from error
    return made
