import os
import signal
import subprocess
import sys

import pytest

from worker.deaths import Deaths, OutOfMemory, judge, oom_kills


class _Counter:
    def __init__(self) -> None:
        self.kills = 3

    def __call__(self) -> int:
        return self.kills


@pytest.mark.parametrize(
    ("status", "own", "how"),
    [
        (-signal.SIGSEGV, True, "was killed by SIGSEGV"),
        (-signal.SIGBUS, True, "was killed by SIGBUS"),
        (-signal.SIGABRT, True, "was killed by SIGABRT"),
        (-signal.SIGFPE, True, "was killed by SIGFPE"),
        (-signal.SIGILL, True, "was killed by SIGILL"),
        (0, True, "exited with code 0"),
        (3, True, "exited with code 3"),
        (-signal.SIGKILL, False, "was killed by SIGKILL"),
        (-signal.SIGTERM, False, "was killed by SIGTERM"),
        (None, False, "ended, and its exit status is unknown"),
        (-63, False, "was killed by signal 63"),
    ],
)
def test_who_ended_a_child_is_read_from_its_exit_status(status: int | None, own: bool, how: str) -> None:
    death = judge(status, out_of_memory=False)
    assert (death.own, death.how) == (own, how)


def test_kill_by_the_kernel_for_want_of_memory_is_the_childs_own_doing() -> None:
    counter = _Counter()
    deaths = Deaths(OutOfMemory(read=counter))
    deaths.note(1, -signal.SIGKILL)
    counter.kills += 1
    deaths.note(2, -signal.SIGKILL)
    deaths.note(3, -signal.SIGKILL)
    assert {pid: death.own for pid, death in deaths.by_pid.items()} == {1: False, 2: True, 3: False}
    assert deaths.by_pid[2].how == "was killed by SIGKILL, for want of memory"


def test_another_process_that_was_killed_long_ago_explains_nothing() -> None:
    counter = _Counter()
    memory = OutOfMemory(read=counter)
    counter.kills += 1
    memory.look()
    assert memory.lately()
    counter.kills += 1
    memory.look()
    memory.look()
    assert not memory.lately()


def test_end_that_is_noted_twice_is_judged_once() -> None:
    deaths = Deaths(OutOfMemory(read=_Counter()))
    deaths.note(1, -signal.SIGSEGV)
    deaths.note(1, None)
    assert deaths.by_pid[1].how == "was killed by SIGSEGV"


def test_deaths_of_long_ago_are_forgotten() -> None:
    deaths = Deaths(OutOfMemory(read=_Counter()))
    for pid in range(1000):
        deaths.note(pid, 1)
    assert len(deaths.by_pid) < 1000
    assert 999 in deaths.by_pid


def test_kernels_counter_is_not_raised_by_a_kill_from_outside() -> None:
    before = oom_kills()
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert oom_kills() == before
