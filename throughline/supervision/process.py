import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from throughline.errors import ServiceFailed
from throughline.supervision.confine import dying_with_us
from throughline.supervision.guard import LastWish, guard
from throughline.supervision.logfile import LogFile


class ManagedProcess:
    """One child process in a session of its own, with its output in a log file.

    The terminal's Ctrl-C doesn't reach it; it is stopped by us alone. Whatever of its process group it leaves behind
    when it ends (Celery's pool children after a ``kill -9``) is killed with it.
    """

    def __init__(self, name: str, *, log: LogFile, last_wish: LastWish | None = None) -> None:
        self.name = name
        self.log = log
        self._wish = last_wish or LastWish()
        self._popen: subprocess.Popen[bytes] | None = None
        self._began = 0.0

    @property
    def pid(self) -> int:
        """The process id of the latest launch.

        Raises:
            ServiceFailed: it was never launched.

        """
        if self._popen is None:
            raise ServiceFailed(f"{self.name} was not started")
        return self._popen.pid

    def spawn(
        self,
        argv: tuple[str, ...],
        *,
        become: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start ``argv``, as whom the prefix ``become`` makes it; what can't be executed is a ``ServiceFailed``.

        With ``env`` it gets exactly that environment, else ours. ``become`` stands first: a change of credentials
        takes the parent death signal away.
        """
        with self.log.open() as log:
            try:
                self._popen = subprocess.Popen(  # noqa: S603 - what the caller wants run
                    (*become, *dying_with_us(argv, self._wish.number)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise ServiceFailed(f"{self.name} can't be started: {error}") from error
        self._began = time.monotonic()
        guard().add(self._popen.pid, self._wish)

    def exit_code(self) -> int | None:
        """Return how it ended: its code, or the negative number of the signal that killed it; None while it runs.

        A process that was never launched ended with 0.
        """
        popen = self._popen
        if popen is None:
            return 0
        if popen.returncode is None and _has_ended(popen):
            _signal_group(popen.pid, signal.SIGKILL)
            guard().remove(popen.pid)
            popen.wait()
        return popen.returncode

    def send(self, number: signal.Signals) -> None:
        """Signal the process itself, if it still runs."""
        if self._popen is not None and self.exit_code() is None:
            self._popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL the whole process group and wait until the process is gone."""
        if self._popen is not None and self.exit_code() is None:
            _signal_group(self._popen.pid, signal.SIGKILL)
            _signal_group(self._popen.pid, signal.SIGCONT)
            while self.exit_code() is None:
                time.sleep(0.005)

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        """Return a readable report: who, how it ended (or ``said``), and the last lines of its log."""
        ended = said or f"{describe_exit(self.exit_code())} after {time.monotonic() - self._began:.1f} s"
        tail = self.log.tail()
        lines = [f"{self.name} {ended}" + ("; it wrote nothing" if not tail else f"; the end of {self.log.path}:")]
        return ServiceFailed("\n".join([*lines, *(f"  {line}" for line in tail)]))


def describe_exit(code: int | None) -> str:
    """Say in words how a process ended."""
    if code is None:
        return "is still running"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _has_ended(popen: "subprocess.Popen[bytes]") -> bool:
    """Look without reaping: as long as the pid isn't reaped neither it nor its group's id can be used again."""
    if sys.platform == "darwin":
        return popen.poll() is not None  # Python has no os.waitid there before 3.13
    try:
        return os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # another thread was here first
        return True


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
