import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from events import FailureKind, RunStatus
from pipelines import Pipeline
from pipelines.surroundings import Surroundings
from pipelines.testing import FakeClock
from pipelines.testing.life import Around, live
from storage.past_reader import PastReader
from storage.past_runs import FIRST_ID, LAST_ID, PastRun
from throughline.backtest.comparing import Compared, compare
from throughline.backtest.stored import Stored

CHUNK: Final = 20
"""Runs that are in memory at once."""

_SAYS_NOTHING: Final = frozenset({FailureKind.POISONED, FailureKind.EXPIRED, FailureKind.INCOMPATIBLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which past runs: the newest ``last``, of events of an exact type, not older than ``since``; ``jobs`` at once."""

    last: int
    type: str | None = None
    since: UUID = FIRST_ID
    jobs: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A run whose end says nothing about its pipeline's code, and why: it was cancelled, say."""

    run_id: UUID
    why: str


async def backtest(reader: PastReader, pipeline: Pipeline[Any], wanted: Wanted) -> AsyncIterator[Compared | LeftOut]:
    """Run the code's pipeline on the events of past runs, newest first, and compare; nothing is stored or published.

    Nodes with effects aren't called: they give back what production stored. The others are called in earnest. Delays
    pass at once, and the nodes' time of day is that of the past run.
    """
    taken = 0
    async for chunk in _chunks(reader, pipeline, wanted):
        kept: list[PastRun] = []
        for past in chunk:
            if (why := _says_nothing(past)) is not None:
                yield LeftOut(run_id=past.run.run_id, why=why)
            elif taken < wanted.last:
                taken += 1
                kept.append(past)
        for compared in await _together(kept, pipeline, jobs=wanted.jobs):
            yield compared
        if taken >= wanted.last:
            return


async def _chunks(reader: PastReader, pipeline: Pipeline[Any], wanted: Wanted) -> AsyncIterator[list[PastRun]]:
    before: UUID | None = LAST_ID
    while before is not None:
        run_ids, before = await reader.page(
            pipeline.name, types=_types(pipeline, wanted), since=wanted.since, before=before
        )
        for some in _in_chunks(run_ids):
            yield await reader.read(some)


def _types(pipeline: Pipeline[Any], wanted: Wanted) -> Sequence[str] | None:
    """Return the exact types to look for; None where only a walk through all events finds them."""
    if wanted.type is not None:
        return [wanted.type]
    return None if any(pattern.endswith("*") for pattern in pipeline.types) else pipeline.types


def _in_chunks(run_ids: list[UUID]) -> Iterator[list[UUID]]:
    for start in range(0, len(run_ids), CHUNK):
        yield run_ids[start : start + CHUNK]


def _says_nothing(past: PastRun) -> str | None:
    run = past.run
    if run.status is RunStatus.CANCELLED:
        return "cancelled"
    if run.failure_kind in _SAYS_NOTHING:
        return str(run.failure_kind)
    if run.failure_kind is FailureKind.TIMEOUT and not (run.error or {}).get("node"):
        return "its lifetime was over"
    return None


async def _together(pasts: Sequence[PastRun], pipeline: Pipeline[Any], *, jobs: int) -> list[Compared]:
    free = asyncio.Semaphore(jobs)

    async def one(past: PastRun) -> Compared:
        async with free:
            return await _again(past, pipeline)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(past)) for past in pasts]
    return [task.result() for task in tasks]


async def _again(past: PastRun, pipeline: Pipeline[Any]) -> Compared:
    stored, clock = Stored(past), FakeClock(past.run.started_at or past.run.created_at)
    surroundings = Surroundings(
        now=lambda: clock.now,
        monotonic=time.monotonic,
        draw=lambda: 1.0,
        stand_in=stored.stand_in,
    )
    around = Around(surroundings=surroundings, clock=clock, arrivals=stored)
    life = await live(pipeline, past.event, around, accepted_version=past.accepted_version)
    return compare(past, life, pipeline, not_run=stored.not_run)
