import os
from datetime import UTC, datetime

from observability.level_watch import AskedLevel
from worker.shared_level import SharedLevel

UNTIL = datetime(2026, 5, 4, 12, 0, 0, 123_456, tzinfo=UTC)


def in_a_child(shared: SharedLevel, asked: AskedLevel | None) -> None:
    pid = os.fork()
    if pid == 0:
        shared.tell(asked)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_parent_finds_what_its_children_told_also_after_their_end() -> None:
    shared = SharedLevel()
    assert shared.found() is None
    in_a_child(shared, AskedLevel(level="WARNING", until=UNTIL, left=60.0))
    found = shared.found()
    assert found is not None
    assert (found.level, found.until) == ("WARNING", UNTIL)
    assert 55.0 < found.left <= 60.0
    in_a_child(shared, None)
    assert shared.found() is None


def test_what_a_child_told_is_over_in_time_though_no_child_says_so() -> None:
    shared = SharedLevel()
    in_a_child(shared, AskedLevel(level="DEBUG", until=UNTIL, left=-0.001))
    assert shared.found() is None
