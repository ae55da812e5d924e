import asyncio
from collections.abc import Awaitable, Callable

from observability.logs import get_logger

_LOG_EVERY = 60.0
_CLOSE_WITHIN = 1.0
_PAUSE = 0.01
"""Seconds from a notification to the next: under load, where there is one a flush, that spares both sides most."""

_log = get_logger(__name__)


class Notifier:
    """Wakes the relays after commits, one notification at a time.

    However many ``wake`` calls come while one is under way, or in the ``pause`` after it, one more follows it. One that
    fails is logged once a minute at most, counted, and not repeated: relays poll anyway.
    """

    def __init__(self, send: Callable[[], Awaitable[None]], *, pause: float = _PAUSE) -> None:
        self._send = send
        self._pause = pause
        self._changed = asyncio.Event()
        self._due = False
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._logged_at = float("-inf")
        self.failures = 0

    def start(self) -> None:
        """Start in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="wake")

    def wake(self) -> None:
        """Ask for a notification. Never waits."""
        self._due = True
        self._changed.set()

    async def close(self) -> None:
        """Send what was asked for, for a second at most, and stop."""
        if self._task is None:
            return
        self._closing = True
        self._changed.set()
        await asyncio.wait({self._task}, timeout=_CLOSE_WITHIN)
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        while self._due or not self._closing:
            if not self._due:
                self._changed.clear()
                await self._changed.wait()
                continue
            self._due = False
            try:
                await self._send()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling is the guarantee
                self._note(error)
            if not self._closing:
                await asyncio.sleep(self._pause)

    def _note(self, error: Exception) -> None:
        self.failures += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at >= _LOG_EVERY:
            self._logged_at = now
            _log.warning("relays could not be woken; they poll", failures=self.failures, error=type(error).__name__)
