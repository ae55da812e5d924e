import asyncio
from dataclasses import dataclass, field

import uvloop

from api.deadlines import Deadlines


@dataclass(eq=False)
class One:
    name: str
    future: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


async def test_what_is_not_done_expires_in_the_order_of_its_deadline_and_what_is_done_does_not() -> None:
    loop = asyncio.get_running_loop()
    expired: list[str] = []
    all_over = asyncio.Event()

    def expire(one: One) -> None:
        expired.append(one.name)
        if one.name == "late":
            all_over.set()

    deadlines: Deadlines[One] = Deadlines(expire)
    done = One("done")
    now = loop.time()
    for delay, one in ((0.09, One("late")), (0.03, One("early")), (0.05, done), (0.06, One("middle"))):
        deadlines.add(now + delay, one)
    done.future.set_result(None)
    async with asyncio.timeout(5):
        await all_over.wait()
    assert expired == ["early", "middle", "late"]


async def test_what_is_done_is_let_go() -> None:
    deadlines: Deadlines[One] = Deadlines(lambda _one: None)
    for number in range(100):
        one = One(str(number))
        deadlines.add(asyncio.get_running_loop().time() + 60, one)
        one.future.set_result(None)
    assert len(deadlines._heap) == 1
    deadlines.close()
    assert deadlines._heap == []


def test_a_deadline_that_is_over_already_is_one_for_uvloop_too() -> None:
    """Whose timers of the past are no timers."""
    expired: list[str] = []

    async def watch() -> None:
        deadlines: Deadlines[One] = Deadlines(lambda one: expired.append(one.name))
        for name in ("first", "second"):
            deadlines.add(asyncio.get_running_loop().time() - 1, One(name))
        async with asyncio.timeout(5):
            while len(expired) < 2:
                await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(watch())
    assert expired == ["first", "second"]
