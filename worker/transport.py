from typing import Any, Final

from kombu import transport
from kombu.transport import redis

_SCHEMES: Final = ("redis", "rediss")
_READ_SECONDS: Final = 1.0


class _Bounded:
    """A pub/sub client of which a read ends in time."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def parse_response(self) -> Any:
        """Return what has come; None when nothing did."""
        return self._client.parse_response(block=False, timeout=_READ_SECONDS)


class Channel(redis.Channel):
    """Kombu's channel, which reads from pub/sub without any limit of time.

    Its loop calls for a read where a descriptor is readable. After a connection was dropped that was half open, the new
    one's may have the old one's number, and nothing to read: the whole worker then hung for ever, deaf and without a
    line in its log.
    """

    def _receive_one(self, client: Any) -> Any:
        return super()._receive_one(_Bounded(client))  # type: ignore[no-untyped-call]  # kombu has few types


class Transport(redis.Transport):
    """Kombu's transport to Redis, with our channel."""

    Channel = Channel


def install() -> None:
    """Have Celery use ``Transport`` wherever it would use kombu's for Redis."""
    for scheme in _SCHEMES:
        transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:{Transport.__name__}"
