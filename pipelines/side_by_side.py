import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

ResultT = TypeVar("ResultT")


class _GaveWay(BaseException):
    """Carries a ``CancelledError`` that nobody outside asked for past ``TaskGroup``, which would swallow it."""

    def __init__(self, error: asyncio.CancelledError) -> None:
        super().__init__(error)
        self.error = error


async def side_by_side(jobs: Sequence[Callable[[], Awaitable[ResultT]]], *, limit: int) -> list[ResultT]:
    """Do the jobs, ``limit`` of them at once, and return their results in order.

    A cancel from outside, and whatever a job raises, cancels all jobs at once, waits for them to end and is raised as
    it is: nothing of them is left behind.
    """
    results: dict[int, ResultT] = {}
    left = iter(enumerate(jobs))

    async def lane() -> None:
        for place, job in left:
            try:
                results[place] = await job()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                raise _GaveWay(error) from None
            await asyncio.sleep(0)  # jobs that never wait leave the loop to others, too

    try:
        async with asyncio.TaskGroup() as lanes:
            for _ in range(min(limit, len(jobs))):
                lanes.create_task(lane())
    except BaseExceptionGroup as group:
        first = group.exceptions[0]
        raise first.error if isinstance(first, _GaveWay) else first from None
    return [results[place] for place in range(len(jobs))]
