from typing import Any

from celery.backends.redis import RedisBackend
from redis.exceptions import RedisError

from observability.logs import get_logger, limit_rate

_log = get_logger(__name__)
limit_rate(__name__)


class RedisResults(RedisBackend):  # type: ignore[misc]  # Celery has no types
    """Keeps the result of a message for people who look. Nothing depends on it, so nothing waits for it or fails."""

    def store_result(self, task_id: str, result: Any, state: str, *details: Any, **more: Any) -> Any:
        """Store a result, or say that Redis would not have it.

        Celery looks for an older one first. An error of either that gets out costs the message's place in the worker's
        prefetch for good: it is never acknowledged.
        """
        try:
            return super().store_result(task_id, result, state, *details, **more)
        except (*self.connection_errors, RedisError) as error:
            _log.warning("a message's result is not kept: Redis won't have it", error=type(error).__name__)
            return result

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Subscribe to nothing: a publisher never waits for results, and a subscription for each message would stay."""
