import concurrent.futures
from collections.abc import Mapping, Sequence
from typing import Any, Final

from celery import Celery, Task
from opentelemetry import context as otel_context
from pydantic import ValidationError

from observability.logs import get_logger
from worker.message import Message, MessageBody
from worker.runtime import WorkerRuntime

_RUNTIME: Final = "throughline_runtime"

_log = get_logger(__name__)


def set_runtime(app: Celery, runtime: WorkerRuntime | None) -> None:
    """Say what processes this process's messages."""
    setattr(app, _RUNTIME, runtime)


def runtime_of(app: Celery) -> WorkerRuntime | None:
    """Return what processes this process's messages, if it has started."""
    runtime: WorkerRuntime | None = getattr(app, _RUNTIME, None)
    return runtime


def hand_over(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Pass a message from Celery's thread to the process's event loop and wait until it may be acknowledged.

    A message that can't be read is somebody else's: it is told, acknowledged, and changes nothing. So is one that
    meets a process about to end: PostgreSQL knows of its runs.
    """
    runtime = runtime_of(task.app)
    if runtime is None:
        _log.error("message came before the worker was ready; its runs are sent again", task_id=task.request.id)
        return {"refused": "not ready"}
    message = _read(task, args, kwargs)
    if message is None:
        return {"refused": "unreadable"}
    try:
        return runtime.process(message)
    except concurrent.futures.CancelledError:
        return {"refused": "stopping"}


def _read(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Message | None:
    try:
        body = MessageBody.model_validate({**kwargs, **({"args": args} if args else {})})
    except ValidationError as error:
        told = [f"{'.'.join(map(str, item['loc']))}: {item['type']}" for item in error.errors()[:5]]
        _log.error("message can't be read and is left aside", task_id=task.request.id, problems=told)
        return None
    return Message(
        tenant=body.tenant,
        pipeline=body.pipeline,
        run_ids=body.run_ids,
        queue=str((task.request.delivery_info or {}).get("routing_key") or ""),
        task_id=task.request.id,
        context=otel_context.get_current(),
    )
