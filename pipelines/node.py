import re
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, ClassVar, Generic, TypeVar, get_args, get_origin

from pipelines.context import TaskContext
from pipelines.limits import Limit
from pipelines.retry import RetryPolicy

OutputT = TypeVar("OutputT")

_WORD_START = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Node(ABC, Generic[OutputT]):
    """One step of a pipeline. ``Node[Summary]`` gives back a ``Summary``: a Pydantic model or another type of JSON.

    A new instance is made for every call, so nothing is shared between runs; what a node knows comes from its context.

    ``name`` is what results, spans and metrics are kept under; by default the class's own name in snake_case. Rename
    the class freely, but keep the name: it is what a run resumes by.
    ``effects``: the node changes something outside (sends, writes, pays). Its result is committed before the next node
    starts; use ``ctx.idempotency_key``, since a crash within the node means that it is called again.
    ``timeout``: how long one call may take, in seconds or as a timedelta; None leaves it to the pipeline's.
    ``retry``: what happens after an error of this node, counted apart from the others'; None leaves it to the
    pipeline's policy, whose tries the nodes without one of their own share.
    ``limits``: what a run counts against from this node on; it is called only in a try that they all have admitted.
    """

    name: ClassVar[str]
    effects: ClassVar[bool] = False
    timeout: ClassVar[float | timedelta | None] = None
    retry: ClassVar[RetryPolicy | None] = None
    limits: ClassVar[tuple[Limit, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = _WORD_START.sub("_", cls.__name__).lower()

    @abstractmethod
    def run(self, ctx: TaskContext[Any]) -> Awaitable[OutputT] | OutputT:
        """Do the work. ``async def`` runs on the event loop and must not block it; ``def`` runs in a thread.

        A thread can't be stopped from outside: a ``def`` that may take long looks at ``ctx.cancelled`` now and then.
        Raise ``Permanent`` if trying again is pointless, ``RetryAfter`` if it is for some time; every other exception
        is retried as the policy says.
        """


def declared_output(node: type[Node[Any]]) -> object:
    """Return the type between the brackets of ``Node[...]``, also when a generic class stands in between.

    Raises:
        TypeError: there is none.

    """
    arguments = _arguments(node, {})
    if not arguments or _is_open(arguments[0]):
        raise TypeError("no output type")
    return arguments[0]


def _arguments(cls: type, known: dict[Any, object]) -> list[object]:
    for base in cls.__dict__.get("__orig_bases__", cls.__bases__):
        origin = get_origin(base) or base
        if isinstance(origin, type) and issubclass(origin, Node):
            arguments = [_substitute(argument, known) for argument in get_args(base)]
            if origin is Node:
                return arguments
            parameters = getattr(origin, "__parameters__", ())
            return _arguments(origin, dict(zip(parameters, arguments, strict=False)))
    return []


def _is_open(argument: object) -> bool:
    """Say whether a type variable is left; a generic class without its argument stands for itself."""
    if isinstance(argument, TypeVar):
        return True
    return not isinstance(argument, type) and bool(getattr(argument, "__parameters__", ()))


def _substitute(argument: Any, known: dict[Any, object]) -> object:
    if isinstance(argument, TypeVar):
        return known.get(argument, argument)
    inner = getattr(argument, "__parameters__", ())
    return argument[tuple(known.get(parameter, parameter) for parameter in inner)] if inner else argument
