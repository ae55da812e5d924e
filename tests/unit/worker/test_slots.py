import asyncio

from worker.slots import Slots


async def test_gives_what_is_free_up_to_what_is_asked() -> None:
    used: list[int] = []
    slots = Slots(5, on_change=used.append)
    assert await slots.take(3) == 3
    assert await slots.take(9) == 2
    assert slots.used == 5
    assert used == [3, 5]


async def test_who_asked_first_is_served_first() -> None:
    slots = Slots(1)
    await slots.take(1)
    served: list[str] = []

    async def ask(name: str) -> None:
        await slots.take(1)
        served.append(name)

    tasks = []
    for name in ("first", "second", "third"):
        tasks.append(asyncio.create_task(ask(name)))
        await asyncio.sleep(0)
    for expected in (["first"], ["first", "second"], ["first", "second", "third"]):
        slots.give_back(1)
        await asyncio.wait({tasks[len(expected) - 1]})
        assert served == expected


async def test_who_gives_up_waiting_takes_nothing() -> None:
    slots = Slots(1)
    await slots.take(1)
    waiting = asyncio.create_task(slots.take(1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    slots.give_back(1)
    assert slots.used == 0
    assert await slots.take(1) == 1
