from typing import Any, NoReturn, final

from pipelines.context import TaskContext
from pipelines.node import Node, OutputT


class DrivenNode(Node[OutputT]):
    """A node that is more than one call: it says what is to be done, and ``execute`` does it."""

    @final
    def run(self, ctx: TaskContext[Any]) -> NoReturn:
        """Refuse: there is no one call that does what the node does.

        Raises:
            TypeError: always.

        """
        raise TypeError(f"{type(self).__qualname__} is run by execute, as part of a pipeline; ctx is of {ctx.node!r}")
