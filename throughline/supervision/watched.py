import time
from enum import StrEnum

from throughline.errors import StackError
from throughline.supervision.progress import Progress, Reporter, Step
from throughline.supervision.service import Service, Stopping, is_ready

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
GOOD_AFTER = 60.0


class OnExit(StrEnum):
    """What a service's unexpected end means."""

    RESTART = "restart"
    FAIL = "fail"


class Watched:
    """One service and its life: starting, ready, or waiting for its next start.

    Restarts pause 0.5 s, then twice as long each time, 30 s at most; a minute of good work starts over at 0.5 s.
    """

    def __init__(self, service: Service, *, report: Reporter) -> None:
        self.service = service
        self.is_ready = False
        self._report = report
        self._launched_at = 0.0
        self._next_launch: float | None = None
        self._pause = FIRST_PAUSE
        self._tries = 0
        self._stopping: Stopping | None = None

    def launch(self) -> None:
        """Start it; what fails is a ``StackError``."""
        self._launched_at = time.monotonic()
        self._next_launch = None
        self.is_ready = False
        self._report(Progress(service=self.service.name, step=Step.STARTING))
        self.service.launch()

    def restart(self) -> None:
        """Stop it as it wants to be stopped, and start it anew when it has ended; ``check`` does both in its turn."""
        if self._next_launch is None and self._stopping is None:
            self._report(Progress(service=self.service.name, step=Step.STOPPING))
            self._stopping = Stopping(self.service)

    def step_to_ready(self) -> bool:
        """Look whether it became ready; a ``ServiceFailed`` when it ended or took too long."""
        if not self.is_ready:
            self.is_ready = is_ready(self.service, deadline=self._launched_at + self.service.ready_timeout)
            if self.is_ready:
                self._report(Progress(service=self.service.name, step=Step.READY, seconds=self._age()))
        return self.is_ready

    def check(self, on_exit: OnExit) -> None:
        """Do what is due now; with ``OnExit.FAIL`` an unexpected end is raised as ``ServiceFailed``."""
        try:
            self._advance()
        except StackError as failure:
            if on_exit is OnExit.FAIL:
                raise
            self.service.kill()
            self._report(Progress(service=self.service.name, step=Step.ENDED, detail=str(failure)))
            self._schedule()

    def _advance(self) -> None:
        if self._stopping is not None:
            if self._stopping.step():
                self._stopping = None
                self.launch()
        elif self._next_launch is not None:
            if time.monotonic() >= self._next_launch:
                self.launch()
        elif self.service.exit_code() is not None:
            raise self.service.failure()
        elif self.step_to_ready() and self._age() > GOOD_AFTER:
            self._pause = FIRST_PAUSE
            self._tries = 0

    def _schedule(self) -> None:
        self._next_launch = time.monotonic() + self._pause
        self._tries += 1
        told = Progress(service=self.service.name, step=Step.RESTARTING, seconds=self._pause, tries=self._tries)
        self._report(told)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _age(self) -> float:
        return time.monotonic() - self._launched_at
