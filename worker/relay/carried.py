import base64
import json
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from settings import RedisSettings

_MOST_MESSAGES: Final = 20_000
_AT_ONCE: Final = 500


def connect(settings: RedisSettings) -> Redis:
    """Return the relay's own way to Redis, beside Celery's. It tries once: the relay's passes are the retries."""
    return Redis.from_url(
        settings.url.get_secret_value(),
        socket_timeout=settings.socket_timeout,
        socket_connect_timeout=settings.connect_timeout,
        retry=Retry(NoBackoff(), 0),
    )


class Carried:
    """What waits in Redis, read from the messages themselves. What a worker has fetched is there no more."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def run_ids(self, queue: str) -> set[UUID]:
        """Return the run ids in the messages of ``queue``. Raises ``RedisError`` or ``OSError``."""
        found: set[UUID] = set()
        for start in range(0, _MOST_MESSAGES, _AT_ONCE):
            messages = await self._redis.lrange(queue, start, start + _AT_ONCE - 1)
            found.update(run_id for message in messages for run_id in _run_ids(message))
            if len(messages) < _AT_ONCE:
                break
        return found


def _run_ids(message: bytes | str) -> Iterator[UUID]:
    """Read a message as Celery's protocol 2 has it in Redis; one that is not ours names no run."""
    try:
        _, kwargs, _ = json.loads(base64.b64decode(json.loads(message)["body"]))
        yield from [UUID(run_id) for run_id in kwargs["run_ids"]]
    except (ValueError, TypeError, KeyError, AttributeError):
        return
