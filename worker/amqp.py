from typing import Any

from celery.app.amqp import AMQP
from celery.app.routes import Router

from worker.app import direct_queue


class _AnyQueue(Router):  # type: ignore[misc]  # Celery has no types
    """Routes to a queue that is not declared as to a plain list in Redis.

    So the relay can publish for pipelines that it doesn't know, while a worker still can't consume a queue whose name
    is a slip of the pen.
    """

    def expand_destination(self, route: Any) -> Any:
        if not isinstance(route, str) and isinstance(name := route.get("queue"), str) and name not in self.queues:
            route = {**route, "queue": direct_queue(name)}
        return super().expand_destination(route)


class DirectAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's way to the broker, with ``_AnyQueue`` as its router."""

    def Router(self, queues: Any = None, create_missing: bool | None = None) -> Router:  # noqa: N802 - Celery's name
        """Return the router."""
        return _AnyQueue(self.routes, queues or self.queues, create_missing, app=self.app)
