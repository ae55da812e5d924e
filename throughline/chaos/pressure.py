import time
from pathlib import Path

_PRESSURE = Path("/proc/pressure/cpu")


class Pressure:
    """How much of its time the machine had more to do than CPUs to do it on; None where the kernel doesn't say."""

    def __init__(self, path: Path = _PRESSURE) -> None:
        self._path = path
        self._began = time.monotonic()
        self._before = self._waited()

    def share(self) -> float | None:
        """Return the share, 0 to 1, since this was made."""
        now = self._waited()
        if now is None or self._before is None:
            return None
        return min(1.0, (now - self._before) / max(time.monotonic() - self._began, 1e-6))

    def _waited(self) -> float | None:
        """Return the seconds in which something waited for a CPU, since the machine started."""
        try:
            some = self._path.read_text().splitlines()[0]
            return int(some.rpartition("total=")[2]) / 1e6
        except (OSError, ValueError, IndexError):
            return None
