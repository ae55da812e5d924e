import signal

from throughline.errors import ServiceFailed
from throughline.supervision.service import StopSteps


class ExternalServer:
    """A server that somebody else runs, as a ``Service``: known by its URL, never started, signalled or stopped."""

    ready_timeout = 0.0
    stop_steps: StopSteps = ((signal.SIGTERM, 0.0),)

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._in_use = False

    def launch(self) -> None:
        """Count it as running."""
        self._in_use = True

    def start(self) -> None:
        """Count it as running."""
        self._in_use = True

    def stop(self) -> None:
        """Count it as ended for us; it isn't touched."""
        self._in_use = False

    def ready(self) -> bool:
        """Whether it is reachable is found out by whoever uses it."""
        return True

    def exit_code(self) -> int | None:
        """Never end while it is in use."""
        return None if self._in_use else 0

    def send(self, _number: signal.Signals, /) -> None:
        """Count it as ended for us; it gets no signal."""
        self._in_use = False

    def kill(self) -> None:
        """Count it as ended for us; it isn't touched."""
        self._in_use = False

    def release(self) -> None:
        """Nothing is held."""

    def failure(self, *, said: str | None = None) -> ServiceFailed:
        """Return a report that names it."""
        return ServiceFailed(f"{self.name} {said or 'is not in use'}")

    def tidy(self) -> None:
        """It keeps its own logs."""
