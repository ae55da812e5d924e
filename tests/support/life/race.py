"""Two operations at once, and what may come of them."""

import asyncio
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from storage.engine import transaction
from tests.support.life.operations import Answer, Operation, Takings
from tests.support.life.state import Key, State


@dataclass(frozen=True, slots=True)
class Raced:
    """What is known after a race: of each thing, how it stands and what either operation answered of it."""

    things: Mapping[Key, tuple[object, object, object]]

    @classmethod
    def of(cls, state: State, first: Answer, second: Answer) -> Self:
        things = state.things()
        keys = things.keys() | first.keys() | second.keys()
        return cls({key: (things.get(key), first.get(key), second.get(key)) for key in keys})

    def is_one_of(self, others: Sequence[Self]) -> bool:
        """Whether each thing, for itself, is as in one of the others: PostgreSQL locks row by row."""
        keys = set(self.things).union(*(other.things for other in others))
        gone = (None, None, None)
        return all(any(self.things.get(key, gone) == other.things.get(key, gone) for other in others) for key in keys)


def candidates(state: State, first: Operation, second: Operation) -> list[Raced]:
    """Tell what may come of the two: one after the other, or one passing over what the other has locked."""
    found = []
    for one, other in ((first, second), (second, first)):
        locked = one.locks(state) if other.passes_over else frozenset()
        orders = [[(one, frozenset[Key]()), (other, frozenset[Key]())]]
        if locked:
            orders += [[(one, frozenset[Key]()), (other, locked)], [(other, locked), (one, frozenset[Key]())]]
        for order in orders:
            after = copy.deepcopy(state)
            answers = {id(operation): operation.predict(after, passed) for operation, passed in order}
            found.append(Raced.of(after, answers[id(first)], answers[id(second)]))
    return found


async def race(engine: AsyncEngine, takings: Takings, first: Operation, second: Operation) -> tuple[Answer, Answer]:
    """Do both at once: the first has done its part before the second begins, and commits when that waits or has ended.

    Which of two free racers wins can't be drawn again, and what is drawn next depends on it.
    """
    pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def follow() -> Answer:
        async with transaction(engine) as connection:
            pid.set_result((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())
            return await second.perform(connection, takings)

    async with engine.connect() as watching, transaction(engine) as holding:
        answer = await first.perform(holding, takings)
        following = asyncio.create_task(follow())
        await _until_done_or_blocked(watching, following, await pid)
    return answer, await asyncio.wait_for(following, 10)


async def _until_done_or_blocked(watching: AsyncConnection, task: asyncio.Task[Answer], pid: int) -> None:
    blocked = text("SELECT cardinality(pg_blocking_pids(:pid)) > 0")
    async with asyncio.timeout(10):
        while not task.done() and not (await watching.execute(blocked, {"pid": pid})).scalar_one():
            await asyncio.sleep(0.001)
