"""What processes cost: CPU seconds and resident memory, children included."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

_MIB = 1024 * 1024


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process, of all below it, and of those of its children that have ended."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        spent = root.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
        for child in root.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                spent = child.cpu_times()
                total += spent.user + spent.system
    return total


def resident_mib(pid: int) -> float:
    """Return the memory that a process and all below it hold for themselves (unique set size), in MiB."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                total += process.memory_full_info().uss / _MIB
    return total


def peak_mib(pid: int) -> float:
    """Return the largest resident size that one process has had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def thread_seconds(pid: int) -> float:
    """Return the CPU seconds of the threads that one process has now, to the nanosecond."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total / 1e9


def each_cpu(pids: Mapping[str, int]) -> dict[str, float]:
    """Return the CPU seconds of each."""
    return {name: cpu_seconds(pid) for name, pid in pids.items()}
