import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from observability.metrics import Metrics, ReadingFamily

_SECONDS: Final = 5.0
_WITHIN: Final = 3.0
_UNACKNOWLEDGED: Final = "unacked"
"""The hash in which Celery's transport keeps what was fetched and not acknowledged."""


class RedisGauges:
    """Whether Redis answers, and how it is, looked at now and then and not when somebody scrapes.

    ``queues`` names the queues whose messages are counted.
    """

    def __init__(self, redis: Redis, *, queues: Callable[[], Collection[str]], metrics: Metrics) -> None:
        self._redis = redis
        self._queues = queues
        self._up = metrics.redis_up
        self._messages = metrics.redis_queue_messages
        self._unacknowledged = metrics.redis_unacknowledged
        self._by_field = {
            "used_memory": metrics.redis_memory_used,
            "maxmemory": metrics.redis_memory_max,
            "connected_clients": metrics.redis_connected_clients,
            "evicted_keys": metrics.redis_evicted_keys,
            "total_commands_processed": metrics.redis_commands,
            "rejected_connections": metrics.redis_rejected_connections,
        }

    async def run_once(self) -> float:
        """Look once, within three seconds; return in how many to look again. Redis away is an answer, too."""
        queues = sorted(self._queues())
        try:
            async with asyncio.timeout(_WITHIN):
                answers = await self._ask(queues)
        except (RedisError, OSError):
            answers = [None] * (3 + len(queues))
        self._up.labels().set(int(answers[0] is True))
        self._show(answers[1:], queues)
        return _SECONDS

    async def _ask(self, queues: Sequence[str]) -> list[Any]:
        """Ask in one round trip; what Redis refuses is an exception in its place, and no reason to miss the rest."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.ping()
            pipeline.info()
            pipeline.hlen(_UNACKNOWLEDGED)
            for queue in queues:
                pipeline.llen(queue)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers

    def _show(self, answers: Sequence[Any], queues: Sequence[str]) -> None:
        info, unacknowledged, *lengths = answers
        for field, reading in self._by_field.items():
            _show(reading, info.get(field) if isinstance(info, dict) else None)
        _show(self._unacknowledged, unacknowledged)
        if any(not isinstance(length, int) for length in lengths):
            self._messages.clear()
            return
        for queue, length in zip(queues, lengths, strict=True):
            self._messages.labels(queue=queue).set(length)


def _show(reading: ReadingFamily[[]], answer: object) -> None:
    """Show a number; anything else is a refusal."""
    if isinstance(answer, int | float):
        reading.labels().set(answer)
    else:
        reading.clear()
