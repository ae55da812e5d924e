import time
from functools import partial
from typing import Any, Final

from celery.worker.consumer import Consumer

_INTERVAL: Final = 0.25
_LONGEST_WAIT: Final = 4.0


class GatheringConsumer(Consumer):  # type: ignore[misc]  # Celery has no types
    """Celery's consumer, sending task events to Flower a few times a second, not at each turn of its loop.

    Events of a message came in three sendings, which cost a third as much as the message's runs. While Redis is away it
    looks for it every few seconds, where Celery's would come to half a minute.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._next_flush = 0.0
        self._armed_until = 0.0
        super().__init__(*args, **kwargs)

    def ensure_connected(self, conn: Any) -> Any:
        """See Celery's."""
        conn.ensure_connection = partial(conn.ensure_connection, interval_max=_LONGEST_WAIT)
        return super().ensure_connected(conn)

    def on_send_event_buffered(self) -> None:
        """See Celery's; any thread may call it, the hub's takes it up."""
        if self.hub:
            self.hub._ready.add(self._flush_in_time)  # noqa: SLF001 - as Celery does, it is what other threads can use

    def _flush_in_time(self) -> None:
        now = time.monotonic()
        if now >= self._next_flush:
            self._next_flush = now + _INTERVAL
            self._flush_events()
        elif now >= self._armed_until:
            # A timer that a reconnect has swept away is made again by the first event after its time.
            self._armed_until = self._next_flush + _INTERVAL
            self.hub.call_later(self._next_flush - now, self._flush_by_timer)

    def _flush_by_timer(self) -> None:
        self._armed_until = 0.0
        self._flush_in_time()
