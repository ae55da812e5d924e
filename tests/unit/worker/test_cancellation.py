import asyncio
from datetime import UTC, datetime

import pytest

from events import Event, new_id
from pipelines import EventSchema, Node, Pipeline, TaskContext
from worker.cancellation import Cancellation


class Nothing(Node[None]):
    """Does nothing."""

    async def run(self, ctx: TaskContext[EventSchema]) -> None:
        """Do nothing."""


PIPELINE = Pipeline(name="p", types=("t",), schema=EventSchema, start=Nothing)


@pytest.fixture
def context() -> TaskContext[EventSchema]:
    return PIPELINE.context(Event(event_id=new_id(), ce_id="1", type="t", data={}, received_at=datetime.now(UTC)))


class Run:
    """A task that lets itself be cancelled while it works, and then finishes."""

    def __init__(self, context: TaskContext[EventSchema]) -> None:
        self.cancellation = Cancellation()
        self.working = asyncio.Event()
        self.finishing = asyncio.Event()
        self.done = asyncio.Event()
        self._context = context
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> str:
        outcome = "succeeded"
        try:
            with self.cancellation.heard_by(self._context):
                self.working.set()
                await self.done.wait()
        except asyncio.CancelledError:
            if not self.cancellation.answered():
                raise
            outcome = f"cancelled: {self.cancellation.reason}"
        self.finishing.set()
        await asyncio.sleep(0)
        return outcome


async def test_a_wish_ends_the_work_and_the_finish_goes_on(context: TaskContext[EventSchema]) -> None:
    run = Run(context)
    await run.working.wait()
    run.cancellation.request("first")
    run.cancellation.request("second")
    assert await run.task == "cancelled: first"
    assert context.cancel_reason == "first"
    assert run.task.cancelling() == 0


async def test_a_wish_before_the_work_or_after_it_is_not_heard(context: TaskContext[EventSchema]) -> None:
    run = Run(context)
    run.cancellation.request("too early")
    run.done.set()
    await run.finishing.wait()
    run.cancellation.request("too late")
    assert await run.task == "succeeded"
    assert context.cancel_reason is None


async def test_a_cancel_from_elsewhere_passes_also_beside_a_wish(context: TaskContext[EventSchema]) -> None:
    for wish in (False, True):
        run = Run(context)
        await run.working.wait()
        if wish:
            run.cancellation.request("wish")
        run.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run.task
