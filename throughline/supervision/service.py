import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from throughline.errors import ServiceFailed
from throughline.supervision.logfile import LogFile
from throughline.supervision.process import ManagedProcess

StopSteps = tuple[tuple[signal.Signals, float], ...]


class Service(Protocol):
    """Something that the supervisor starts, watches and stops: an embedded server or a process of ours."""

    @property
    def name(self) -> str:
        """What people call it; names its log."""

    @property
    def ready_timeout(self) -> float:
        """Seconds from launch to ready, at most."""

    @property
    def stop_steps(self) -> StopSteps:
        """Signals to stop it with, each with the seconds to wait before the next; SIGKILL comes last by itself."""

    def launch(self) -> None:
        """Start it without waiting until it is ready."""

    def ready(self) -> bool:
        """Say whether it does its work; may take part of a second."""

    def exit_code(self) -> int | None:
        """Return how it ended, None while it runs."""

    def send(self, number: signal.Signals, /) -> None:
        """Signal it, if it runs."""

    def kill(self) -> None:
        """SIGKILL all of it and wait until it is gone."""

    def release(self) -> None:
        """Give back what it held (locks), after its end."""

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        """Return a report of its end, or of what is ``said`` of it, with the end of its log."""

    def tidy(self) -> None:
        """Keep its log from growing without end; called now and then."""


class ProcessService:
    """A process of ours as a service: the api, the relay, a worker, flower."""

    def __init__(  # noqa: PLR0913 - a process has this many sides; all but two are keyword-only with defaults
        self,
        name: str,
        argv: Sequence[str],
        *,
        logs: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool] | None = None,
        ready_timeout: float = 30.0,
        stop_timeout: float = 15.0,
    ) -> None:
        """Describe the process; nothing is started.

        Args:
            name: what people call it; its output goes to ``logs/<name>.log``.
            argv: the command.
            logs: the folder of log files.
            env: its whole environment; ours when left out.
            cwd: its working directory; ours when left out.
            ready: says whether it does its work (see ``health``); left out, it is ready once started.
            ready_timeout: seconds from launch to ready, at most.
            stop_timeout: seconds between SIGTERM and SIGKILL.

        """
        self.name = name
        self.ready_timeout = ready_timeout
        self.stop_steps: StopSteps = ((signal.SIGTERM, stop_timeout),)
        self.process = ManagedProcess(name, log=LogFile(logs / f"{name}.log"))
        self._argv = tuple(argv)
        self._env = env
        self._cwd = cwd
        self._ready = ready

    @property
    def pid(self) -> int:
        """The process id of the latest launch."""
        return self.process.pid

    def launch(self) -> None:
        """Start the process."""
        self.process.spawn(self._argv, env=self._env, cwd=self._cwd)

    def ready(self) -> bool:
        """Ask the check that was given."""
        return self._ready is None or self._ready()

    def exit_code(self) -> int | None:
        """Return how it ended, None while it runs."""
        return self.process.exit_code()

    def send(self, number: signal.Signals, /) -> None:
        """Signal the process itself, not its group: Celery's main process tells its children what to do."""
        self.process.send(number)

    def kill(self) -> None:
        """SIGKILL its process group."""
        self.process.kill()

    def release(self) -> None:
        """Nothing is held."""

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        """Return a report with the end of its log."""
        return self.process.failure(said=said)

    def tidy(self) -> None:
        """Limit its log file."""
        self.process.log.limit()


class Stopping:
    """The way down of one service: its stop signals in turn, then SIGKILL."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.killed = False
        self._steps = list(service.stop_steps)
        self._until = 0.0

    def step(self, *, hurry: bool = False) -> bool:
        """Do what is due, without waiting; True once it is gone. ``hurry`` doesn't wait for the step under way."""
        if self.service.exit_code() is not None:
            self.service.release()
            return True
        now = time.monotonic()
        if now >= self._until or hurry:
            self._next(now)
        return False

    def _next(self, now: float) -> None:
        if not self._steps:
            self.killed = True
            self.service.kill()
            return
        number, seconds = self._steps.pop(0)
        self._until = now + seconds
        self.service.send(number)
        self.service.send(signal.SIGCONT)  # a stopped process would never hear it


def wait_ready(service: Service) -> None:
    """Wait until a launched service is ready.

    Raises:
        ServiceFailed: it ended, or wasn't ready in time; it is left as it is.

    """
    deadline = time.monotonic() + service.ready_timeout
    while not is_ready(service, deadline=deadline):
        time.sleep(0.02)


def is_ready(service: Service, *, deadline: float) -> bool:
    """Say whether it is ready; a ``ServiceFailed`` when it has ended or the deadline (monotonic) is over."""
    if service.exit_code() is not None:
        raise service.failure()
    if service.ready():
        return True
    if time.monotonic() >= deadline:
        raise service.failure(said=f"was not ready within {service.ready_timeout:g} s")
    return False


def stop(service: Service) -> None:
    """Stop one service and wait until it is gone; bounded by its stop steps."""
    stopping = Stopping(service)
    while not stopping.step():
        time.sleep(0.01)
