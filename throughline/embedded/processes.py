import contextlib
import signal
import time
from pathlib import Path

try:
    import psutil
except ModuleNotFoundError:  # without requirements/embedded.txt, as `binaries` says before anything here is called
    psutil = None  # type: ignore[assignment]


def descendants(pid: int) -> "list[psutil.Process]":
    """Return all living descendants of a process, without itself."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def working_in(folder: Path, *, program: str) -> list[int]:
    """Return the pids of the processes of this name that work in ``folder``.

    PostgreSQL and Redis both go to their data's folder: so a server is found that an earlier session left behind,
    whatever a pid file says, which may name a process that has long been another.
    """
    target = str(folder.resolve())
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == program and process.cwd() == target:
                found.append(process.pid)
    return sorted(found)


def signal_all(processes: "list[psutil.Process]", number: signal.Signals) -> None:
    """Signal each that still lives; psutil minds pids that were used again."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_gone(processes: "list[psutil.Process]", *, timeout: float) -> bool:
    """Wait until none of them runs; False when ``timeout`` seconds were not enough.

    A zombie doesn't run: an orphan stays one for as long as process 1 takes to reap it.
    """
    deadline = time.monotonic() + timeout
    while any(_runs(process) for process in processes):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.005)
    return True


def _runs(process: "psutil.Process") -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
