import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from throughline.supervision.guard import guard
from throughline.supervision.progress import Progress, Reporter, Step, unheard
from throughline.supervision.service import Service, Stopping
from throughline.supervision.signals import StopSignals
from throughline.supervision.watched import OnExit, Watched

_POLL = 0.02
_TIDY_EVERY = 10.0


class Supervisor:
    """Starts services, watches them, and leaves none of them running.

    Use it as a context manager in the main thread. Ctrl-C, SIGTERM and SIGHUP raise ``StopRequested`` wherever the
    body is; leaving the body, for whatever reason, stops everything in reverse order. A further signal on the way down
    makes haste: the next stop step at once, SIGKILL at the end of them.
    """

    def __init__(self, *, on_exit: OnExit = OnExit.FAIL, report: Reporter = unheard) -> None:
        self._on_exit = on_exit
        self._report = report
        self._signals = StopSignals()
        self._groups: list[list[Watched]] = []
        self._tidied_at = time.monotonic()

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._signals.hold_for_good()
            self.stop()
        finally:
            self._signals.__exit__(kind, error, trace)

    def start(self, *services: Service) -> None:
        """Start these together and return when all are ready; call it again for what needs them.

        Raises:
            StackError: one couldn't be started, ended or wasn't ready in time.

        """
        group: list[Watched] = []
        self._groups.append(group)
        for service in services:
            watched = Watched(service, report=self._report)
            with self._signals.held():
                group.append(watched)
                watched.launch()
        while True:
            states = [watched.step_to_ready() for watched in group]
            if all(states):
                return
            for watched in self._all():
                if watched not in group:
                    watched.check(self._on_exit)
            time.sleep(_POLL)

    def check(self) -> None:
        """Look after all services once, without waiting; to be called several times a second.

        Raises:
            ServiceFailed: one ended, and the policy is ``OnExit.FAIL``.

        """
        for watched in self._all():
            with self._signals.held():
                watched.check(self._on_exit)
        guard().check()
        if time.monotonic() - self._tidied_at > _TIDY_EVERY:
            self._tidied_at = time.monotonic()
            for watched in self._all():
                watched.service.tidy()

    def restart(self, *names: str) -> None:
        """Restart services by name, each gracefully, while the others go on; ``check`` and ``watch`` see to it."""
        for watched in self._all():
            if watched.service.name in names:
                watched.restart()

    def watch(self, *, until: Callable[[], bool] | None = None, timeout: float | None = None) -> bool:
        """Look after all services until ``until`` is true (forever, without it), a stop signal or an end that fails.

        Returns:
            False when ``timeout`` seconds were over first.

        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not (until is not None and until()):
            self.check()
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(_POLL)
        return True

    def stop(self) -> None:
        """Stop everything, the last started first; those that were started together are stopped together."""
        while self._groups:
            self._stop_group(self._groups.pop())

    def _stop_group(self, group: list[Watched]) -> None:
        began = time.monotonic()
        left = [Stopping(watched.service) for watched in reversed(group)]
        for stopping in left:
            self._report(Progress(service=stopping.service.name, step=Step.STOPPING))
        signals = self._signals.count
        while left:
            hurry, signals = self._signals.count > signals, self._signals.count
            for stopping in list(left):
                if stopping.step(hurry=hurry):
                    left.remove(stopping)
                    step = Step.KILLED if stopping.killed else Step.STOPPED
                    seconds = time.monotonic() - began
                    self._report(Progress(service=stopping.service.name, step=step, seconds=seconds))
            time.sleep(_POLL)

    def _all(self) -> list[Watched]:
        return [watched for group in self._groups for watched in group]
