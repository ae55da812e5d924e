import dis
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import PydanticSchemaGenerationError, PydanticUserError

from events import JsonValue
from pipelines.checks import check_name, check_timeout
from pipelines.errors import InvalidNodeError, InvalidOutputError, OutputTypeError
from pipelines.node import Node, declared_output
from pipelines.output import OutputCodec
from pipelines.retry import check_retry
from pipelines.router import RouterNode

_WAITING: Final = frozenset({"GET_AWAITABLE", "SEND", "YIELD_VALUE", "YIELD_FROM", "GET_ANEXT"})
"""What ``await``, ``async for`` and ``async with`` are compiled to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A node in its place in a pipeline: all that running it needs, found out once.

    ``waits`` is False of an ``async def`` without an ``await``: nothing can come between its beginning and its end.
    ``targets`` are the nodes that may follow. ``skips`` tells, for each that a router may choose (None: the run ends),
    which nodes will then never run.
    """

    node: type[Node[Any]]
    name: str
    asynchronous: bool
    waits: bool
    codec: OutputCodec
    targets: tuple[str, ...]
    skips: Mapping[str | None, tuple[str, ...]]
    routes: bool

    def next(self, output: JsonValue) -> str | None:
        """Return the name of the node that follows this output; None ends the run.

        Raises:
            InvalidOutputError: a router chose what it does not declare.

        """
        if not self.routes:
            return self.targets[0] if self.targets else None
        choice = output if isinstance(output, str) else None
        if choice not in self.skips:
            raise InvalidOutputError(
                f"chose {choice!r}; its routes and fallback allow {', '.join(map(repr, self.skips))}"
            )
        return choice


def make_step(
    pipeline: str, node: type[Node[Any]], *, targets: tuple[str, ...], skips: Mapping[str | None, tuple[str, ...]]
) -> Step:
    """Check one node of a pipeline and return its step.

    Raises:
        PipelineError: the node can't be made, run, timed or retried, or has no output type.

    """
    place = f"pipeline {pipeline!r}, node {node.name!r}"
    _check_constructor(place, node)
    if node.timeout is not None:
        check_timeout(place, node.timeout)
    if node.retry is not None:
        check_retry(place, node.retry)
    return Step(
        node=node,
        name=node.name,
        asynchronous=inspect.iscoroutinefunction(node.run),
        waits=_waits(node.run),
        codec=_codec(place, node),
        targets=targets,
        skips=skips,
        routes=issubclass(node, RouterNode),
    )


def _waits(run: object) -> bool:
    code = getattr(run, "__code__", None)
    if code is None or not code.co_flags & inspect.CO_COROUTINE:
        return True
    return any(instruction.opname in _WAITING for instruction in dis.get_instructions(code))


def check_node_name(pipeline: str, node: type[Node[Any]]) -> None:
    """Refuse a node whose name is none.

    Raises:
        InvalidNameError: see ``check_name``.

    """
    check_name(f"pipeline {pipeline!r}, node class {node.__qualname__}: the name", getattr(node, "name", None))


def _check_constructor(place: str, node: type[Node[Any]]) -> None:
    missing = sorted(getattr(node, "__abstractmethods__", ()))
    if missing:
        raise InvalidNodeError(f"{place}: {node.__qualname__} has no {', '.join(missing)}; write it")
    try:
        inspect.signature(node).bind()
    except TypeError as error:
        raise InvalidNodeError(
            f"{place}: a new instance is made for each call, but the constructor wants arguments ({error}); "
            "give them defaults, or make them class attributes"
        ) from None


def _codec(place: str, node: type[Node[Any]]) -> OutputCodec:
    try:
        declared = declared_output(node)
    except TypeError:
        raise OutputTypeError(
            f"{place}: no output type; write class {node.__name__}(Node[Something]), or Node[None]"
        ) from None
    try:
        return OutputCodec(declared)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise OutputTypeError(
            f"{place}: its output type {declared} has no JSON form ({reason}); use a Pydantic model"
        ) from error
