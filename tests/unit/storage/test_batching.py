import asyncio
from collections.abc import Sequence

import pytest

from storage.batching import Batcher, Overloaded


class Recorder:
    """A flush that notes its batches and, while it is held, lets the next one gather."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, items: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(items))
        await self.open.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def settled(batcher: Batcher[int, int], waiting: int) -> None:
    while batcher.waiting != waiting:
        await asyncio.sleep(0)


async def test_a_lone_item_is_written_at_once_and_a_crowd_shares_a_batch() -> None:
    flush = Recorder()
    flush.open.clear()
    batcher = Batcher[int, int](flush, max_items=10, max_waiting=100)
    batcher.start()
    first = asyncio.create_task(batcher.submit(1))
    while not flush.batches:
        await asyncio.sleep(0)
    crowd = [asyncio.create_task(batcher.submit(item)) for item in (2, 3, 4)]
    await settled(batcher, 3)
    flush.open.set()
    assert await asyncio.gather(first, *crowd) == [2, 4, 6, 8]
    assert flush.batches == [[1], [2, 3, 4]]
    await batcher.close()


async def test_an_items_error_is_its_own() -> None:
    batcher = Batcher[int, int](Recorder(), max_items=10, max_waiting=100)
    batcher.start()
    good, bad = await asyncio.gather(batcher.submit(1), batcher.submit(-1), return_exceptions=True)
    assert good == 2
    assert isinstance(bad, ValueError)
    await batcher.close()


async def test_batches_are_bounded_in_items_and_bytes() -> None:
    flush = Recorder()
    batcher = Batcher[int, int](flush, max_items=3, max_waiting=100, max_bytes=10)
    items = [asyncio.create_task(batcher.submit(item, size=size)) for item, size in enumerate([1, 1, 1, 1, 8, 5, 50])]
    await settled(batcher, 7)
    batcher.start()
    await asyncio.gather(*items)
    assert flush.batches == [[0, 1, 2], [3, 4], [5], [6]]
    await batcher.close()


async def test_an_item_whose_caller_left_is_not_written() -> None:
    flush = Recorder()
    batcher = Batcher[int, int](flush, max_items=10, max_waiting=100)
    leaver = asyncio.create_task(batcher.submit(1))
    stayer = asyncio.create_task(batcher.submit(2))
    await settled(batcher, 2)
    leaver.cancel()
    await asyncio.wait([leaver])
    batcher.start()
    assert await stayer == 4
    assert flush.batches == [[2]]
    await batcher.close()


async def test_more_than_may_wait_is_refused_at_once() -> None:
    batcher = Batcher[int, int](Recorder(), max_items=10, max_waiting=2)
    waiting = [asyncio.create_task(batcher.submit(item)) for item in (1, 2)]
    await settled(batcher, 2)
    with pytest.raises(Overloaded):
        await batcher.submit(3)
    batcher.start()
    assert await asyncio.gather(*waiting) == [2, 4]
    await batcher.close()


async def test_a_writer_that_dies_is_replaced_and_fails_its_own_batch_alone() -> None:
    calls = 0

    async def flush(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return list(items)

    batcher = Batcher[int, int](flush, max_items=10, max_waiting=100)
    batcher.start()
    with pytest.raises(Exception, match="interrupted"):
        await batcher.submit(1)
    assert await batcher.submit(2) == 2
    await batcher.close()


async def test_closing_writes_what_waits_and_takes_no_more() -> None:
    flush = Recorder()
    flush.open.clear()
    batcher = Batcher[int, int](flush, max_items=1, max_waiting=100)
    batcher.start()
    items = [asyncio.create_task(batcher.submit(item)) for item in (1, 2, 3)]
    await settled(batcher, 2)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await batcher.submit(4)
    flush.open.set()
    await closing
    assert await asyncio.gather(*items) == [2, 4, 6]


async def test_a_flush_that_answers_too_few_fails_its_batch_and_leaves_nobody_waiting() -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        return [item for item in items if item != 2]

    batcher: Batcher[int, int] = Batcher(flush, max_items=10, max_waiting=10)
    batcher.start()
    async with asyncio.timeout(10):
        results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)
        assert [type(result) for result in results] == [ValueError, ValueError]
        assert await batcher.submit(3) == 3
        await batcher.close()


async def test_an_item_that_stands_for_several_counts_for_as_many() -> None:
    flush = Recorder()
    batcher = Batcher[int, int](flush, max_items=4, max_waiting=12)
    items = [batcher.enqueue(item, weight=weight) for item, weight in enumerate([1, 2, 2, 5, 1])]
    assert (batcher.waiting, batcher.room) == (11, 1)
    with pytest.raises(Overloaded):
        batcher.enqueue(9, weight=2)
    batcher.start()
    await asyncio.gather(*items)
    assert flush.batches == [[0, 1], [2], [3], [4]]
    assert (batcher.waiting, batcher.room) == (0, 12)
    await batcher.close()
