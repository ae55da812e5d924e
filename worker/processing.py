import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from observability.logs import get_logger
from pipelines import Pipeline, PipelineRegistry
from storage.engine import DatabaseUnavailable
from worker.claiming import Claims
from worker.execution import Execution
from worker.held import Claimed, HeldRuns
from worker.journal import RunJournal
from worker.message import Message, Report
from worker.slots import Slots
from worker.writes import Writes

_PAUSE: Final = 0.5

_log = get_logger(__name__)


class Processing:
    """What a worker does with a message: takes slots, claims its runs, starts them, and waits for them a while."""

    def __init__(  # noqa: PLR0913 - it brings the parts of a worker together
        self,
        registry: PipelineRegistry,
        claims: Claims,
        writes: Writes,
        *,
        execution: Execution,
        slots: Slots,
        held: HeldRuns,
        acknowledge_after: float,
    ) -> None:
        self._registry = registry
        self._claims = claims
        self._writes = writes
        self._execution = execution
        self._slots = slots
        self._held = held
        self._acknowledge_after = acknowledge_after
        self._closed = False
        self._gathering: set[asyncio.Task[Any]] = set()

    async def process(self, message: Message) -> Report:
        """Run what is to be run of a message; return when it may be acknowledged.

        That is when its runs have ended, or ``acknowledge_after`` seconds after the last one began: from then on the
        lease alone answers for them.
        """
        report = Report(runs=len(message.run_ids))
        pipeline = self._registry.get(message.pipeline)
        if self._closed:
            await self._release(message, message.run_ids)
        elif pipeline is None:
            report.deferred = len(message.run_ids)
            await self._defer(message)
        else:
            tasks = await self._start_all(message, pipeline)
            report.claimed = len(tasks)
            report.left = await self._wait_for(tasks)
            report.outcomes = _outcomes(tasks)
        return report

    def close(self) -> None:
        """Claim nothing more; messages under way and to come let go of what they have not claimed."""
        self._closed = True
        for task in self._gathering:
            task.cancel()

    async def _start_all(self, message: Message, pipeline: Pipeline[Any]) -> "list[asyncio.Task[Any]]":
        waiting, tasks = list(dict.fromkeys(message.run_ids)), list[asyncio.Task[Any]]()
        gathering = asyncio.ensure_future(self._gather(message, pipeline, waiting, tasks))
        self._gathering.add(gathering)
        try:
            await asyncio.wait({gathering})
        finally:
            self._gathering.discard(gathering)
            if not gathering.done():
                gathering.cancel()
        if gathering.cancelled():
            await self._release(message, waiting)
        else:
            gathering.result()
        return tasks

    async def _gather(
        self, message: Message, pipeline: Pipeline[Any], waiting: list[UUID], tasks: "list[asyncio.Task[Any]]"
    ) -> None:
        while waiting:
            free = await self._slots.take(len(waiting))
            used = 0
            try:
                chunk = waiting[:free]
                with self._held.asking(chunk):
                    for claimed in await self._claims.claim(message, chunk):
                        tasks.append(self._start(claimed, pipeline, message))
                        used += 1
                del waiting[:free]
            finally:
                self._slots.give_back(free - used)

    def _start(self, claimed: Claimed, pipeline: Pipeline[Any], message: Message) -> "asyncio.Task[Any]":
        journal = RunJournal(claimed.run, self._writes, is_held=self._claims.is_held)
        running = self._execution.run(claimed, journal, pipeline=pipeline, message=message)
        task = asyncio.get_running_loop().create_task(running, name=f"run:{claimed.run.run_id}")
        task.add_done_callback(self._ended)
        self._held.add(claimed, journal, task)
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._slots.give_back(1)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a run's execution broke; it is given back", task=task.get_name(), exc_info=error)

    async def _wait_for(self, tasks: "Sequence[asyncio.Task[Any]]") -> int:
        if not tasks:
            return 0
        _, left = await asyncio.wait(tasks, timeout=self._acknowledge_after)
        if left:
            _log.info("message acknowledged before its runs ended", left=len(left))
        return len(left)

    async def _defer(self, message: Message) -> None:
        _log.warning("message names a pipeline that is not known here", pipeline=message.pipeline)
        while not self._closed:
            try:
                await self._claims.defer(message)
            except DatabaseUnavailable:
                await asyncio.sleep(_PAUSE)
            else:
                return

    async def _release(self, message: Message, run_ids: Sequence[UUID]) -> None:
        try:
            await self._claims.release(message, run_ids)
        except DatabaseUnavailable:
            _log.warning("runs not released; the relay sends them again when their time is over", runs=len(run_ids))


def _outcomes(tasks: "Sequence[asyncio.Task[Any]]") -> dict[str, int]:
    """Count how the runs ended that have."""
    well = [task for task in tasks if task.done() and not task.cancelled() and task.exception() is None]
    return dict(Counter(str(task.result()) for task in well if task.result() is not None))
