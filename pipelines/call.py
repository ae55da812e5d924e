import asyncio
import contextvars
import inspect
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from observability.logs import get_logger
from pipelines.at_work import NodeAtWork
from pipelines.context import TaskContext
from pipelines.retry import NodeTimeoutError
from pipelines.steps import Step

CANCEL_GRACE = 2.0
"""Seconds a node has to end once it was cancelled; one that goes on is abandoned."""

_log = get_logger(__name__)
_abandoned: set[asyncio.Task[Any]] = set()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a call of a node ended: with a value, or with an error of the user's code or ours."""

    value: object = None
    error: BaseException | None = None


async def call(step: Step, context: TaskContext[Any]) -> Ended:
    """Run a node, bounded by its own timeout and the try's deadline. Only a cancel from outside is raised.

    The node runs in a task of its own, which tells three things apart that look alike: a cancel from outside, the end
    of its time, and a ``CancelledError`` that its own code raised. It also bounds a node that swallows the cancel:
    after ``CANCEL_GRACE`` it is left behind, its result ignored. A thread can't be stopped;
    ``context.cancelled`` tells it. A node that never waits needs no task: none of the three can happen to it.
    """
    limit, whose = _limit(step, context)
    if limit <= 0:
        return Ended(error=_too_late(step, whose))
    stand_in = context.surroundings.stand_in
    other = None if stand_in is None else stand_in(step, context)
    if other is None and not step.waits:
        return _inline(step, context)
    at_work = NodeAtWork(pipeline=context.pipeline, node=step.name, run_id=str(context.run_id))
    task = asyncio.create_task(_guarded(step, context, other), name=at_work.task_name)
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        context.cancel("cancelled")
        await _stop(task, step)
        raise
    if task.done():
        return Ended(error=asyncio.CancelledError("cancelled by its own code")) if task.cancelled() else task.result()
    context.cancel("its time is over")
    await _stop(task, step)
    return Ended(error=_too_late(step, whose))


def _inline(step: Step, context: TaskContext[Any]) -> Ended:
    NodeAtWork.inline = (context.pipeline, step.name, str(context.run_id))
    try:
        return contextvars.copy_context().run(_outcome_of_coroutine, step, context)
    finally:
        NodeAtWork.inline = None


def _outcome_of_coroutine(step: Step, context: TaskContext[Any]) -> Ended:
    try:
        step.node().run(context).send(None)  # type: ignore[union-attr]  # a coroutine, or it would wait
    except StopIteration as ended:
        return Ended(ended.value)
    except BaseException as error:
        if _is_interrupt(error):
            raise
        return Ended(error=error)
    raise AssertionError(f"node {step.name!r} waited, which its code does not do")


def _limit(step: Step, context: TaskContext[Any]) -> tuple[float, float | None]:
    own, left = step.node.timeout, context.remaining
    return (own, own) if own is not None and own <= left else (left, None)


def _too_late(step: Step, own: float | None) -> NodeTimeoutError:
    if own is None:
        return NodeTimeoutError(f"the pipeline's time was over in node {step.name!r}")
    return NodeTimeoutError(f"node {step.name!r} took longer than its {own:g} s")


async def _stop(task: "asyncio.Task[Ended]", step: Step) -> None:
    task.cancel()
    try:
        await asyncio.wait({task}, timeout=CANCEL_GRACE)
    finally:
        if not task.done():
            _log.error("a node goes on after its cancel and is left behind", node=step.name)
            _abandoned.add(task)
            task.add_done_callback(_abandoned.discard)


async def _guarded(step: Step, context: TaskContext[Any], other: Callable[[TaskContext[Any]], object] | None) -> Ended:
    try:
        if other is not None:
            value = other(context)
            return Ended(await value if inspect.isawaitable(value) else value)
        run = step.node().run
        if step.asynchronous:
            return Ended(await run(context))
        ended = await _in_thread(run, context)
        return Ended(await ended.value) if inspect.isawaitable(ended.value) else ended
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        if _is_interrupt(error):
            raise
        return Ended(error=error)


async def _in_thread(run: Callable[[TaskContext[Any]], Any], context: TaskContext[Any]) -> Ended:
    values = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, values.run, _outcome_of, run, context)


def _outcome_of(run: Callable[[TaskContext[Any]], Any], context: TaskContext[Any]) -> Ended:
    """Never raises: a ``StopIteration`` or ``SystemExit`` must not travel through a future into the event loop."""
    try:
        return Ended(run(context))
    except BaseException as error:  # noqa: BLE001 - see above
        return Ended(error=error)


def _is_interrupt(error: BaseException) -> bool:
    """Say whether somebody pressed Ctrl-C: only the main thread gets that. ``SystemExit`` in a node is its error."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
