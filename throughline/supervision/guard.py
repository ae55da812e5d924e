import functools
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("guard_process.py")


@dataclass(frozen=True, slots=True)
class LastWish:
    """What is done to a process when we die without stopping it: a signal, then SIGKILL after ``grace`` seconds."""

    number: signal.Signals = signal.SIGKILL
    grace: float = 0.0


class Guard:
    """A small process that ends ours when we are killed: nothing is left running, not even by ``kill -9``.

    It learns of our death by the end of a pipe, so it works for whole process groups, from any thread and without
    Linux's parent death signal (which is tied to the thread that started the child).
    """

    def __init__(self) -> None:
        self._wishes: dict[int, LastWish] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        os.register_at_fork(after_in_child=self._let_go)

    @property
    def pid(self) -> int | None:
        """The guard's process id; none before the first ``add``."""
        return self._process.pid if self._process else None

    def add(self, pid: int, wish: LastWish) -> None:
        """Watch over the process group that ``pid`` leads."""
        self._wishes[pid] = wish
        self._tell(_plus(pid, wish))

    def remove(self, pid: int) -> None:
        """Forget a process that has ended; to be called before its pid can be used again."""
        if self._wishes.pop(pid, None) is not None:
            self._tell(f"- {pid}\n")

    def check(self) -> None:
        """Start the guard again if somebody killed it while it had something to guard."""
        if self._wishes and not self._alive():
            self._start()

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _tell(self, line: str) -> None:
        if not (self._alive() and self._write(line)):
            self._start()

    def _start(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
        reading, self._pipe = os.pipe()
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-I", "-S", str(_SCRIPT)],
            stdin=reading,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        os.close(reading)
        self._write("".join(_plus(pid, wish) for pid, wish in self._wishes.items()))

    def _write(self, text: str) -> bool:
        if self._pipe is None:
            return False
        try:
            os.write(self._pipe, text.encode())
        except BrokenPipeError:
            return False
        return True

    def _let_go(self) -> None:
        """In a forked child: close the pipe, whose end must mean the parent's death alone."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            self._process.returncode = 0
        self._wishes.clear()


def _plus(pid: int, wish: LastWish) -> str:
    return f"+ {pid} {int(wish.number)} {wish.grace}\n"


@functools.cache
def guard() -> Guard:
    """Return this process's guard; one, since it is tied to the process's life."""
    return Guard()
