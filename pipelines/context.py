import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast
from uuid import UUID

from pydantic import BaseModel

from events import Event, LimitKey
from pipelines.arrivals import WaitState
from pipelines.errors import MissingOutputError
from pipelines.journal import NodeRecord
from pipelines.output import OutputCodec
from pipelines.schema import SchemaT, parse
from pipelines.surroundings import REAL, Surroundings
from pipelines.upcasts import Upcast, upcast

if TYPE_CHECKING:
    from pipelines.node import Node

OutputT = TypeVar("OutputT")
InnerT = TypeVar("InnerT", bound=BaseModel)


@dataclass(slots=True)
class Progress:
    """What the views of one try share, in one pipeline or sub-pipeline, and only ``execute`` writes."""

    data: Any = None
    outputs: dict[str, tuple[OutputCodec, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Halt:
    """Why what sees it is to stop; what stands within it is to stop, too, but not the other way round."""

    reason: str | None = None
    around: "Halt | None" = None

    @property
    def heard(self) -> str | None:
        """The reason here or around it."""
        return self.reason if self.reason is not None or self.around is None else self.around.heard


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContext(Generic[SchemaT]):
    """What a node sees: the event, the results so far, the run's ids, its deadline and its cancel flag.

    Made by ``Pipeline.context``. ``attempt`` is the try's number, from 1; ``errors_by_node`` counts the earlier
    tries that ended in an error, by the node it came from (crashes and hand-backs are none; None: from no node).
    ``done`` holds the results of earlier tries, by node and item; ``waits`` the waits that they began, by node;
    ``permits`` the limits that this try was admitted by. ``deadline``, of this try, and ``expires``, of the run, are
    on the clock of ``surroundings.monotonic``, which is another in a test; ``time_of`` names the node around this one
    whose time ends at the deadline. ``upcasts`` are those that the event's data has to pass. ``node`` and ``item`` name
    the call that this view was made for.
    """

    event: Event
    run_id: UUID
    pipeline: str
    schema: type[SchemaT]
    deadline: float
    expires: float = math.inf
    attempt: int = 1
    errors_by_node: Mapping[str | None, int] = field(default_factory=lambda: MappingProxyType({}))
    done: Mapping[tuple[str, int], NodeRecord] = field(default_factory=lambda: MappingProxyType({}))
    waits: Mapping[str, WaitState] = field(default_factory=lambda: MappingProxyType({}))
    permits: frozenset[LimitKey] = frozenset()
    upcasts: Mapping[int, Upcast] = field(default_factory=lambda: MappingProxyType({}))
    surroundings: Surroundings = REAL
    node: str = ""
    item: int = 0
    time_of: str | None = None
    _progress: Progress = field(default_factory=Progress, repr=False)
    _halt: Halt = field(default_factory=Halt, repr=False)

    @property
    def data(self) -> SchemaT:
        """The event's ``data``, brought up to the pipeline's version, as its schema.

        Raises:
            UpcastError: it could not be brought up.
            ValidationError: it does not fit. Nodes never see this: ``execute`` reads it before the first one.

        """
        if self._progress.data is None:
            self._progress.data = parse(self.schema, upcast(self.event.data, self.upcasts))
        data: SchemaT = self._progress.data
        return data

    def output(self, node: "type[Node[OutputT]]") -> OutputT:
        """Return what ``node`` gave back, as it comes back from JSON: a new object at each call.

        Raises:
            MissingOutputError: it has not run: it was skipped, or comes later.

        """
        if node.name not in self._progress.outputs:
            raise MissingOutputError(
                f"{node.name!r} has no output in this run: it was skipped or comes later; ask with output_or_none"
            )
        codec, text = self._progress.outputs[node.name]
        result: OutputT = codec.decode(text)
        return result

    def output_or_none(self, node: "type[Node[OutputT]]") -> OutputT | None:
        """Return what ``node`` gave back, or None if it has not run: for a node behind several branches."""
        return self.output(node) if node.name in self._progress.outputs else None

    @property
    def idempotency_key(self) -> str:
        """The same for every try of this node in this run, and for no other: ``{run_id}:{node}``."""
        key = f"{self.run_id}:{self.node}"
        return f"{key}:{self.item}" if self.item else key

    def now(self) -> datetime:
        """Return the time of day, in UTC: in a test, that of its clock."""
        return self.surroundings.now()

    @property
    def remaining(self) -> float:
        """The seconds left until the deadline; 0 when it is over."""
        return max(0.0, self.deadline - self.surroundings.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether this try is to stop: somebody asked for it, or its time is over. For code in threads."""
        return self._halt.heard is not None

    @property
    def cancel_reason(self) -> str | None:
        """Why it is to stop."""
        halt = self._halt
        return halt.reason if halt.around is None else halt.heard

    def cancel(self, reason: str) -> None:
        """Ask this try to stop before its next node. The first reason stands."""
        halt = self._halt
        while halt.around is not None:
            halt = halt.around
        if halt.reason is None:
            halt.reason = reason

    def at(self, node: str, *, item: int = 0) -> "TaskContext[SchemaT]":
        """Return this context as ``node`` sees it."""
        return TaskContext(
            event=self.event,
            run_id=self.run_id,
            pipeline=self.pipeline,
            schema=self.schema,
            deadline=self.deadline,
            expires=self.expires,
            attempt=self.attempt,
            errors_by_node=self.errors_by_node,
            done=self.done,
            waits=self.waits,
            permits=self.permits,
            upcasts=self.upcasts,
            surroundings=self.surroundings,
            node=node,
            item=item,
            time_of=self.time_of,
            _progress=self._progress,
            _halt=self._halt,
        )

    def halt(self, reason: str) -> None:
        """Tell the call that this view was made for, and no other beside it, to stop. ``execute`` calls it."""
        if self._halt.reason is None:
            self._halt.reason = reason

    def aside(self) -> "TaskContext[SchemaT]":
        """Return this context for a call beside others. ``execute`` calls it."""
        return replace(self, _halt=Halt(around=self._halt))

    def apart(self) -> "TaskContext[SchemaT]":
        """Return this context for a call beside others that must not see its outputs. ``execute`` calls it."""
        progress = Progress(self._progress.data, dict(self._progress.outputs))
        return replace(self, _progress=progress, _halt=Halt(around=self._halt))

    def adopt(self, view: "TaskContext[SchemaT]") -> None:
        """Make the outputs of a view that was apart available here. ``execute`` calls it."""
        self._progress.outputs.update(view._progress.outputs)  # noqa: SLF001 - another of our own

    def inside(self, schema: type[InnerT], data: InnerT) -> "TaskContext[InnerT]":
        """Return this context as the nodes of a sub-pipeline see it. ``execute`` calls it."""
        inner: Any = replace(self, schema=schema, _progress=Progress(data))  # type: ignore[arg-type]  # another schema
        return cast("TaskContext[InnerT]", inner)

    def bounded(self, timeout: float | None, *, time_of: str) -> "TaskContext[SchemaT]":
        """Return this context with no more time left than ``timeout`` seconds. ``execute`` calls it."""
        deadline = math.inf if timeout is None else self.surroundings.monotonic() + timeout
        return self if deadline >= self.deadline else replace(self, deadline=deadline, time_of=time_of)

    def text_of(self, node: "type[Node[Any]]") -> str:
        """Return what ``node`` gave back as JSON text. ``execute`` calls it."""
        return self._progress.outputs[node.name][1]

    def keep(self, node: str, codec: OutputCodec, text: str) -> None:
        """Make an output available to the nodes that follow. ``execute`` calls it."""
        self._progress.outputs[node] = (codec, text)
