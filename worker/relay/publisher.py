import asyncio
import logging
import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from celery import Celery, Task
from kombu.exceptions import OperationalError
from kombu.messaging import Producer
from opentelemetry.context import Context
from opentelemetry.trace import set_span_in_context
from redis.exceptions import RedisError

from observability.logs import get_logger, tell
from observability.metrics import Metrics
from observability.tracing import (
    LinkReason,
    context_from,
    links_to,
    new_message_id,
    publish_span,
    trace_id_of,
    traceparent_of,
)
from observability.tracing.celery_spans import publishing
from worker.app import TASK_NAME, shown_arguments
from worker.relay.chunking import Outgoing

_REDIS_FAULTS: Final = (OperationalError, RedisError, OSError)

_log = get_logger(__name__)


@dataclass(slots=True)
class Delivery:
    """What became of messages. ``down``: Redis failed. ``refused``: there is something about the message itself."""

    sent: list[Outgoing] = field(default_factory=list)
    unsent: list[Outgoing] = field(default_factory=list)
    refused: list[Outgoing] = field(default_factory=list)
    down: Exception | None = None


_Order = tuple[Sequence[Outgoing], "asyncio.Future[Delivery]"]


class Publisher:
    """Sends messages through Celery from a thread of its own, so that a wedged Redis holds up nothing else.

    Celery's publishing blocks for as long as a socket may take. The thread is a daemon: a process that stops doesn't
    wait for Redis either.
    """

    def __init__(self, app: Celery, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        self._producer: Producer | None = None
        self._task = _registered_task(app)
        threading.Thread(target=self._work, name="publisher", daemon=True).start()

    async def send(self, messages: Sequence[Outgoing]) -> Delivery:
        """Send all messages or find Redis down. Never raises for either."""
        future: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._orders.put((messages, future))
        return await future

    def close(self) -> None:
        """Let the thread end after what it is at."""
        self._orders.put(None)

    def _work(self) -> None:
        # Celery's current app is a thread's own; the tracing instrumentation looks the task up in it.
        self._app.set_current()
        while (order := self._orders.get()) is not None:
            messages, future = order
            try:
                delivery = self._deliver(messages)
            except Exception as error:  # noqa: BLE001 - with this thread dead the relay would wait for ever
                _log.exception("publishing broke")
                delivery = Delivery(unsent=list(messages), down=error)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                future.get_loop().call_soon_threadsafe(_settle, future, delivery)
        self._disconnect()

    def _deliver(self, messages: Sequence[Outgoing]) -> Delivery:
        delivery = Delivery()
        trace_ids: list[str | None] = []
        try:
            with self._batch(len(messages)) as producer:
                for message in messages:
                    self._try(producer, message, delivery, trace_ids)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing may be taken for sent, and the thread lives
            self._disconnect()
            refused = {id(message) for message in delivery.refused}
            unsent = [message for message in messages if id(message) not in refused]
            for message in unsent:
                self._metrics.publish_errors.labels(queue=message.queue).inc()
            return Delivery(unsent=unsent, refused=delivery.refused, down=error)
        for message, trace_id in zip(delivery.sent, trace_ids, strict=True):
            self._tell(message, trace_id)
        return delivery

    def _try(self, producer: Producer, message: Outgoing, delivery: Delivery, trace_ids: list[str | None]) -> None:
        try:
            trace_id = self._send(producer, message)
        except _REDIS_FAULTS:
            raise
        except Exception:  # noqa: BLE001 - one bad message must not hold up the others; logged with its traceback
            _log.exception("a message can't be sent", pipeline=message.pipeline, queue=message.queue)
            self._metrics.publish_errors.labels(queue=message.queue).inc()
            delivery.refused.append(message)
        else:
            delivery.sent.append(message)
            trace_ids.append(trace_id)

    @contextmanager
    def _batch(self, count: int) -> Iterator[Producer]:
        """One round trip for several messages; a lone one goes at once, so that its span sees it fail."""
        if self._producer is None:
            # Without max_retries kombu tries to connect for connect_timeout seconds and more, sleeping in between.
            connection = self._app.connection_for_write(transport_options={"max_retries": 0})
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        with ExitStack() as stack:
            if count > 1:
                stack.enter_context(self._producer.batch())
            yield self._producer

    def _send(self, producer: Producer, message: Outgoing) -> str | None:
        ids = [str(run.run_id) for run in message.runs]
        task_id = new_message_id(shared=len(ids) > 1)
        with (
            _message_context(message, task_id) as (context, trace_id),
            publishing(self._task, task_id, context=context),
        ):
            self._app.send_task(
                TASK_NAME,
                kwargs={"tenant": message.tenant, "pipeline": message.pipeline, "run_ids": ids},
                argsrepr="()",
                kwargsrepr=shown_arguments(message.pipeline, ids),
                queue=message.queue,
                task_id=task_id,
                producer=producer,
                retry=False,
                add_to_parent=False,
            )
        return trace_id

    def _tell(self, message: Outgoing, trace_id: str | None) -> None:
        labels = {"queue": message.queue}
        self._metrics.published.labels(**labels).inc(len(message.runs))
        self._metrics.message_runs.labels(**labels).observe(len(message.runs))
        line: dict[str, Any] = {"pipeline": message.pipeline, "queue": message.queue}
        if trace_id:
            line["trace_id"] = trace_id
        if len(message.runs) == 1:
            tell(__name__, "run published", {"run_id": str(message.runs[0].run_id), **line})
            return
        traces = [found for run in message.runs if (found := trace_id_of(run.traceparent))]
        tell(__name__, "runs published", {"runs": len(message.runs), "trace_ids": traces, **line})
        if logging.getLogger(__name__).isEnabledFor(logging.DEBUG):
            _log.debug("runs of the message", run_ids=[str(run.run_id) for run in message.runs], **line)

    def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(Exception):  # it is broken or the process ends: there is nothing to save
                producer.connection.close()


@contextmanager
def _message_context(message: Outgoing, task_id: str) -> Iterator[tuple[Context, str | None]]:
    """The context to send a message in, and its trace's id.

    A lone run's message belongs to its event's trace. Several runs' message has a trace of its own, linked to theirs.
    """
    if len(message.runs) == 1:
        traceparent = message.runs[0].traceparent
        yield context_from(traceparent), trace_id_of(traceparent)
        return
    links = links_to((run.traceparent for run in message.runs), reason=LinkReason.RUN)
    with publish_span(message.pipeline, task_id, queue=message.queue, links=links) as span:
        yield set_span_in_context(span, Context()), trace_id_of(traceparent_of(span))


def _registered_task(app: Celery) -> Task:
    """The task by whose name messages are sent; a publisher that hasn't the worker's gets a stand-in for its spans."""
    if TASK_NAME not in app.tasks:
        app.task(_only_workers_run_it, name=TASK_NAME)
    return app.tasks[TASK_NAME]


def _only_workers_run_it(**_: object) -> None:
    raise NotImplementedError  # the stand-in is named in messages and never called


def _settle(future: "asyncio.Future[Delivery]", delivery: Delivery) -> None:
    if not future.done():
        future.set_result(delivery)
