"""Ends the processes of a parent that died without stopping them.

Run by its path with the standard library alone. Reads ``+ pid signal grace`` and ``- pid`` lines from stdin; the end of
the input is the parent's death, however it came.
"""

import os
import signal
import sys
import time
from collections.abc import Iterable

_POLL = 0.05


def watch(lines: Iterable[str]) -> dict[int, tuple[int, float]]:
    """Follow the parent's lines to their end; return what then still ran, as pid: (signal, seconds of grace)."""
    running: dict[int, tuple[int, float]] = {}
    for line in lines:
        match line.split():
            case ["+", pid, number, grace]:
                running[int(pid)] = (int(number), float(grace))
            case ["-", pid]:
                running.pop(int(pid), None)
            case _:
                pass
    return running


def end(running: dict[int, tuple[int, float]]) -> None:
    """Ask each to stop, then kill the process groups of those that are still there after their grace."""
    began = time.monotonic()
    for pid, (number, _) in running.items():
        _signal(pid, number)
        _signal(pid, signal.SIGCONT)
    while running:
        late = time.monotonic() - began
        for pid, (_, grace) in list(running.items()):
            if not _runs(pid) or late >= grace:
                _signal_group(pid, signal.SIGKILL)
                del running[pid]
        if running:
            time.sleep(_POLL)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _runs(pid: int) -> bool:
    """An orphan stays a zombie until process 1 reaps it, which in a container may be never."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib costs half of this program's start
            return file.read().rpartition(b")")[2].split()[0] != b"Z"
    except FileNotFoundError:
        return _signal(pid, 0)


def _signal_group(pid: int, number: int) -> None:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def main() -> None:
    """Outlive everything but SIGKILL until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    end(watch(sys.stdin))


if __name__ == "__main__":
    main()
