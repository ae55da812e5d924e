"""Telling a child that ended by its own doing from one that was ended from outside, as well as the system tells it."""

import signal
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from storage.deaths import Death

_OWN: Final = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
        signal.SIGXFSZ,
        signal.SIGALRM,
        signal.SIGVTALRM,
        signal.SIGPROF,
        signal.SIGPIPE,
    }
)
_CGROUP: Final = Path("/sys/fs/cgroup")
_KEPT: Final = 256


def judge(status: int | None, *, out_of_memory: bool) -> Death:
    """Judge an exit status as ``multiprocessing`` has it: a code, or a signal's number below zero; None is unknown.

    ``out_of_memory``: the kernel has killed a process for want of memory in the meantime.
    """
    if status is None:
        return Death(how="ended, and its exit status is unknown")
    if status >= 0:
        return Death(how=f"exited with code {status}", own=True)
    name = _name_of(-status)
    if -status == signal.SIGKILL and out_of_memory:
        return Death(how=f"was killed by {name}, for want of memory", own=True)
    return Death(how=f"was killed by {name}", own=-status in _OWN)


class OutOfMemory:
    """Tells whether the kernel has killed a process for want of memory lately.

    ``look`` now and then: what happened before the last look but one isn't of today. The control group's own counter is
    taken where there is one; the host's counts processes of others as well.
    """

    def __init__(self, *, read: Callable[[], int] | None = None) -> None:
        self._read = read or oom_kills
        self._seen = deque([self._read()], maxlen=2)

    def look(self) -> None:
        """Read the counter, so that the next death is compared with a fresh one."""
        self._seen.append(self._read())

    def lately(self) -> bool:
        """Tell whether there was a kill since the last look but one; each kill is told once."""
        now = self._read()
        killed = now > self._seen[0]
        if killed:
            self._seen.clear()
            self._seen.append(now)
        return killed


class Deaths:
    """How the children of this boot died, by pid. A successor has it from before its fork."""

    def __init__(self, memory: OutOfMemory) -> None:
        self._memory = memory
        self._by_pid: dict[int, Death] = {}

    def note(self, pid: int, status: int | None) -> None:
        """Judge the end of a child, once."""
        if pid in self._by_pid:
            return
        out_of_memory = status == -signal.SIGKILL and self._memory.lately()
        self._by_pid[pid] = judge(status, out_of_memory=out_of_memory)
        if len(self._by_pid) > _KEPT:
            del self._by_pid[next(iter(self._by_pid))]

    @property
    def by_pid(self) -> dict[int, Death]:
        """The last ones."""
        return dict(self._by_pid)


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory: in our control group, or on the host."""
    for path in (*_group_files(), Path("/proc/vmstat")):
        count = _field(path, "oom_kill")
        if count is not None:
            return count
    return 0


def _group_files() -> list[Path]:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            found += [_CGROUP / group.lstrip("/") / "memory.events", _CGROUP / "memory.events"]
        elif "memory" in controllers.split(","):
            found += [_CGROUP / "memory" / group.lstrip("/") / "memory.oom_control"]
            found += [_CGROUP / "memory" / "memory.oom_control"]
    return found


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((int(words[1]) for line in lines if (words := line.split())[:1] == [name]), None)


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
