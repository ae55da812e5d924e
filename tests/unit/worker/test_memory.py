import gc
import weakref
from collections.abc import Iterator

import pytest

from worker.memory import settle


@pytest.fixture(autouse=True)
def _collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


class _Circle:
    def __init__(self) -> None:
        self.itself = self


def test_what_is_there_stays_out_of_the_collectors_way_and_what_comes_later_is_still_collected() -> None:
    settle()
    kept = gc.get_freeze_count()
    assert kept > 10_000
    gone = weakref.ref(_Circle())
    assert gone() is not None
    for _ in range(gc.get_threshold()[0] + 1):
        _ = [[]]
    circles = [_Circle() for _ in range(gc.get_threshold()[0] + 1)]
    assert gone() is None
    assert len(circles) > 0
