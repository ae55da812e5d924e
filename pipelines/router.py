import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pipelines.context import TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.node import Node


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way on: to the node ``to`` if ``when`` says so.

    ``when`` is a plain function of the context that answers with a bool at once: it computes from results, on the event
    loop, and asks nobody.
    """

    to: type[Node[Any]]
    when: Callable[[TaskContext[Any]], bool]


class RouterNode(Node[str | None]):
    """Chooses the next node: the first of ``routes`` whose condition holds, or else ``fallback``.

    ``fallback = None`` says that the run may end here. Its output is the chosen node's name. What was not chosen is
    recorded as skipped, so that one can see the ways that were not taken::

        class RouteIssue(RouterNode):
            routes = (Route(to=Escalate, when=is_urgent), Route(to=Answer, when=is_question))
            fallback = LabelIssue
    """

    routes: ClassVar[tuple[Route, ...]]
    fallback: ClassVar[type[Node[Any]] | None]

    async def run(self, ctx: TaskContext[Any]) -> str | None:
        """Ask the routes in their order."""
        for route in self.routes:
            answer: object = route.when(ctx)
            if not isinstance(answer, bool):
                if inspect.iscoroutine(answer):
                    answer.close()
                raise InvalidOutputError(
                    f"the condition of the route to {route.to.name!r} answered with {type(answer).__name__}, not a bool"
                )
            if answer:
                return route.to.name
        return self.fallback.name if self.fallback else None


def targets_of(router: type[RouterNode]) -> tuple[type[Node[Any]], ...]:
    """Return the nodes that ``router`` may choose, in the order it tries them."""
    fallback = () if router.fallback is None else (router.fallback,)
    return tuple(dict.fromkeys((*(route.to for route in router.routes), *fallback)))
