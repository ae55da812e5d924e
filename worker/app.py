from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from celery import Celery
from kombu.entity import Exchange, Queue

from settings import RedisSettings, Settings, WorkerSettings
from worker import transport

TASK_NAME: Final = "process_incoming_event"

MOST_SHOWN: Final = 100
"""Run ids that are named in what Flower shows of a message."""

_RESULT_SECONDS: Final = 300
_RESULT_TIMEOUT: Final = 2.0
_NO_EXCHANGE: Final = Exchange("")  # type: ignore[no-untyped-call]  # kombu has few types


def create_celery(settings: Settings) -> Celery:
    """Make the Celery app of a worker, a relay or Flower. Connects to nothing and imports no pipeline.

    A worker consumes the queues of its settings and no others; a publisher may name any queue.
    """
    transport.install()
    app = Celery("throughline", amqp="worker.amqp:DirectAMQP", include=["worker.tasks"])
    app.loader.override_backends = dict.fromkeys(("redis", "rediss"), "worker.results:RedisResults")
    app.conf.update(
        {**_redis(settings.redis), **_messages(settings.worker), **_worker(settings.worker), **_results(settings.redis)}
    )
    if settings.pipelines.modules:
        app.autodiscover_tasks(settings.pipelines.modules)
    return app


def shown_arguments(pipeline: str, run_ids: Sequence[str]) -> str:
    """Return what Flower shows of a message's arguments, and finds it by; as a literal, since it reads pairs from one.

    Many ids are named in part: Flower keeps what it shows several times over, for each task.
    """
    shown: dict[str, object] = {"pipeline": pipeline, "runs": len(run_ids), "run_ids": list(run_ids[:MOST_SHOWN])}
    if len(run_ids) > MOST_SHOWN:
        shown["more"] = len(run_ids) - MOST_SHOWN
    return repr(shown)


def direct_queue(name: str) -> Queue:
    """Return the queue as a plain Redis list: without an exchange there is no binding that FLUSHALL could take away."""
    return Queue(name, _NO_EXCHANGE, routing_key=name)  # type: ignore[no-untyped-call]  # kombu has few types


def _redis(redis: RedisSettings) -> dict[str, Any]:
    return {
        "broker_url": _celery_url(redis.url.get_secret_value()),
        "broker_connection_timeout": redis.connect_timeout,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_transport_options": {
            "visibility_timeout": redis.visibility_timeout,
            "socket_timeout": redis.socket_timeout,
            "socket_connect_timeout": redis.connect_timeout,
            "socket_keepalive": True,
            "health_check_interval": redis.health_check_interval,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
    }


def _messages(worker: WorkerSettings) -> dict[str, Any]:
    return {
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_queues": [direct_queue(name) for name in worker.queues],
        "task_default_queue": worker.queues[0] if worker.queues else "default",
        "task_create_missing_queues": False,
        "task_send_sent_event": True,
        "task_track_started": False,
        "task_ignore_result": False,
    }


def _worker(worker: WorkerSettings) -> dict[str, Any]:
    return {
        "worker_pool": worker.pool,
        "worker_consumer": "worker.consumer:GatheringConsumer",
        "worker_concurrency": worker.concurrency,
        "worker_prefetch_multiplier": worker.prefetch_multiplier,
        "worker_send_task_events": True,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "worker_state_db": None,
        "worker_soft_shutdown_timeout": worker.stop_grace,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }


def _results(redis: RedisSettings) -> dict[str, Any]:
    return {
        "result_backend": _celery_url(redis.url.get_secret_value()),
        "result_serializer": "json",
        "result_accept_content": ["json"],
        "result_expires": _RESULT_SECONDS,
        "redis_socket_timeout": min(_RESULT_TIMEOUT, redis.socket_timeout),
        "redis_socket_connect_timeout": min(_RESULT_TIMEOUT, redis.connect_timeout),
        "redis_socket_keepalive": True,
        "redis_backend_health_check_interval": redis.health_check_interval,
        "result_backend_always_retry": False,
        "result_backend_transport_options": {"retry_policy": {"max_retries": 0}},
    }


def _celery_url(url: str) -> str:
    """Write a Redis URL as Celery reads it: another scheme for sockets, and certificates checked unless told."""
    scheme, _, rest = url.partition("://")
    address, _, query = rest.partition("?")
    options = dict(parse_qsl(query))
    if scheme == "unix":
        scheme = "redis+socket"
        options.setdefault("virtual_host", options.pop("db", "0"))
    elif scheme == "rediss":
        options.setdefault("ssl_cert_reqs", "required")
    return f"{scheme}://{address}" + (f"?{urlencode(options)}" if options else "")
