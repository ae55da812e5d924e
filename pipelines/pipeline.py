import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Generic
from uuid import UUID

from pydantic import BaseModel, PydanticUserError

from events import Event, Failed, JsonValue, Retry, new_id
from pipelines.checks import check_name, check_queue, check_timeout, check_types, is_count
from pipelines.context import TaskContext
from pipelines.description import PipelineDescription, describe_steps
from pipelines.errors import InvalidSchemaError, InvalidVersionError
from pipelines.graph import NodeClass, build_steps
from pipelines.journal import NodeRecord
from pipelines.retry import RetryPolicy, check_retry, decide
from pipelines.schema import SchemaT
from pipelines.steps import Step


@dataclass(frozen=True, kw_only=True, eq=False)
class Pipeline(Generic[SchemaT]):
    """A named, versioned graph of nodes for one or more event types. Immutable, and checked when it is made.

    ``types`` are exact event types or prefixes (``github.*``). ``edges`` says which node follows which; a router's
    routes say it for the router; a node with neither ends the run. ``timeout`` is the seconds one try may take.
    ``queue`` is where its runs wait, ``retry`` what happens after an error in a node that has no policy of its own.

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
    queue: str = "default"
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    steps: Mapping[str, Step] = field(init=False, repr=False)
    json_schema: Mapping[str, JsonValue] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name("a pipeline's name", self.name)
        place = f"pipeline {self.name!r}"
        if not is_count(self.version):
            raise InvalidVersionError(f"{place}: version is {self.version!r}; give a whole number from 1 up")
        check_types(place, self.types)
        check_queue(place, self.queue)
        check_timeout(place, self.timeout)
        check_retry(place, self.retry)
        steps = build_steps(self.name, start=self.start, edges=self.edges)
        for attribute, value in (
            ("json_schema", MappingProxyType(_json_schema(place, self.schema))),
            ("edges", MappingProxyType(dict(self.edges))),
            ("steps", MappingProxyType(steps)),
        ):
            object.__setattr__(self, attribute, value)

    def context(
        self,
        event: Event,
        *,
        run_id: UUID | None = None,
        attempt: int = 1,
        errors_by_node: Mapping[str | None, int] | None = None,
        done: Mapping[str, NodeRecord] | None = None,
    ) -> TaskContext[SchemaT]:
        """Return the context of one try, whose time runs from now on."""
        return TaskContext(
            event=event,
            run_id=run_id or new_id(),
            pipeline=self.name,
            schema=self.schema,
            deadline=time.monotonic() + self.timeout,
            attempt=attempt,
            errors_by_node=MappingProxyType(dict(errors_by_node or {})),
            done=MappingProxyType(dict(done or {})),
        )

    def decide(self, error: BaseException, context: TaskContext[SchemaT], *, node: str | None = None) -> Retry | Failed:
        """Say what an error of ``node`` means for the run; None where it came from none of them.

        A node with a policy of its own is judged by its own errors alone, everything else by the rest of them.
        """
        before = context.errors_by_node
        own = {name: step.node.retry for name, step in self.steps.items() if step.node.retry is not None}
        if node in own:
            return decide(error, own[node], before.get(node, 0), node=node)
        shared = sum(count for name, count in before.items() if name not in own)
        return decide(error, self.retry, shared, node=node)

    def describe(self) -> PipelineDescription:
        """Return what people and the API are told about it."""
        return PipelineDescription(
            name=self.name,
            version=self.version,
            types=self.types,
            queue=self.queue,
            timeout=self.timeout,
            max_attempts=self.retry.max_attempts,
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
