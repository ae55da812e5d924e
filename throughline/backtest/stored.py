"""What production stored, in the place of what isn't to happen again."""

from collections.abc import Callable, Mapping
from typing import Any

from events import NodeStatus, Suspended
from pipelines import Stop, TaskContext
from pipelines.errors import InvalidOutputError
from pipelines.steps import Step
from pipelines.testing import failure
from pipelines.testing.arriving import Arrival, NotRun, matches
from storage.past_runs import PastRun
from storage.records import NodeResult


class Stored:
    """Answers for the nodes with effects of a past run's pipeline, and for what it waits for.

    ``not_run`` names the first node for which there was no answer, and why.
    """

    def __init__(self, past: PastRun) -> None:
        self.not_run: str | None = None
        self._results = {(node.node, node.item): node for node in past.run.nodes}
        self._waits = {wait.node: wait for wait in past.waits}
        self._arrived = [wait.event for wait in past.waits if wait.event is not None]

    def stand_in(self, step: Step, context: TaskContext[Any]) -> Callable[..., object] | None:
        """See ``pipelines.surroundings.StandIn``: nodes with effects give back what they did in production."""
        if not step.node.effects:
            return None
        stored = self._results.get((step.name, context.item))
        return lambda *_: self._again(step, stored)

    def find(self, suspended: Suspended, *, until: float) -> Arrival | None:  # noqa: ARG002 - it came in time, then
        """See ``pipelines.testing.arriving.Arrivals``: what ended a wait in production ends it at once.

        Raises:
            NotRun: production waited for no such event.

        """
        for event in self._arrived:
            if suspended.awaited is not None and matches(suspended.awaited, event):
                return Arrival(event=event)
        past = self._waits.get(suspended.node)
        if past is None or past.event is not None:
            raise self._unknown(suspended.node, "not run: no stored event that it waits for")
        return None

    def _again(self, step: Step, stored: NodeResult | None) -> object:
        if stored is not None and stored.status is NodeStatus.STOPPED and isinstance(stored.output, Mapping):
            raise Stop(str(stored.output.get("reason")))
        if stored is not None and stored.status is NodeStatus.FAILED and stored.error:
            raise failure(str(stored.error.get("type")), str(stored.error.get("message")))
        if stored is None or stored.status is not NodeStatus.SUCCEEDED:
            raise self._unknown(step.name, "not run: no stored output")
        try:
            codec = step.item_codec or step.codec
            return codec.decode(codec.restore(stored.output).text)
        except InvalidOutputError:
            why = "not run: its stored output is not of the type that it has now"
            raise self._unknown(step.name, why) from None

    def _unknown(self, node: str, why: str) -> NotRun:
        self.not_run = self.not_run or f"{node}: {why}"
        return NotRun(why)
