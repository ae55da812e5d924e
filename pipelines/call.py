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
from pipelines.errors import InvalidOutputError
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


async def call(step: Step, context: TaskContext[Any], *item: object) -> Ended:
    """Run a node, or do its work for one item, bounded by its own timeout and the try's deadline.

    Only a cancel from outside is raised.

    The node runs in a task of its own, which tells three things apart that look alike: a cancel from outside, the end
    of its time, and a ``CancelledError`` that its own code raised. It also bounds a node that swallows the cancel:
    after ``CANCEL_GRACE`` it is left behind, its result ignored. A thread can't be stopped;
    ``context.cancelled`` tells it. A node that never waits needs no task: none of the three can happen to it.
    """
    limit, whose = _limit(step, context)
    if limit <= 0:
        return Ended(error=_too_late(step, whose, context))
    stand_in = context.surroundings.stand_in
    other = None if stand_in is None else stand_in(step, context)
    if other is None and not step.waits:
        return _inline(step, context, _outcome_of_coroutine, step, context, *item)
    at_work = NodeAtWork(pipeline=context.pipeline, node=step.name, run_id=str(context.run_id))
    task = asyncio.create_task(_guarded(step, other, context, *item), name=at_work.task_name)
    try:
        await asyncio.wait({task}, timeout=limit)
    except asyncio.CancelledError:
        context.halt("cancelled")
        await _stop(task, step)
        raise
    if task.done():
        return Ended(error=asyncio.CancelledError("cancelled by its own code")) if task.cancelled() else task.result()
    context.halt("its time is over")
    await _stop(task, step)
    return Ended(error=_too_late(step, whose, context))


def ask(step: Step, context: TaskContext[Any], question: Callable[[Any], object]) -> Ended:
    """Put a question to the node: a plain function, which answers at once, on the event loop."""
    return _inline(step, context, _answer, step, question)


def _answer(step: Step, question: Callable[[Any], object]) -> Ended:
    try:
        answer = question(step.node())
    except BaseException as error:
        if _is_interrupt(error):
            raise
        return Ended(error=error)
    if inspect.iscoroutine(answer):
        answer.close()
        return Ended(error=InvalidOutputError("is asked for what a plain function can answer; it must not be async"))
    return Ended(answer)


def _inline(step: Step, context: TaskContext[Any], work: Callable[..., Ended], *arguments: object) -> Ended:
    NodeAtWork.inline = (context.pipeline, step.name, context.run_id)
    try:
        return contextvars.copy_context().run(work, *arguments)
    finally:
        NodeAtWork.inline = None


def _outcome_of_coroutine(step: Step, *arguments: object) -> Ended:
    try:
        getattr(step.node(), step.method)(*arguments).send(None)  # a coroutine, or it would wait
    except StopIteration as ended:
        return Ended(ended.value)
    except BaseException as error:
        if _is_interrupt(error):
            raise
        return Ended(error=error)
    raise AssertionError(f"node {step.name!r} waited, which its code does not do")


def _limit(step: Step, context: TaskContext[Any]) -> tuple[float, float | None]:
    own, left = step.timeout, context.remaining
    return (own, own) if own is not None and own <= left else (left, None)


def _too_late(step: Step, own: float | None, context: TaskContext[Any]) -> NodeTimeoutError:
    if own is None:
        whose = "the pipeline's time" if context.time_of is None else f"the time of {context.time_of!r}"
        return NodeTimeoutError(f"{whose} was over in node {step.name!r}")
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


async def _guarded(step: Step, other: Callable[..., object] | None, *arguments: object) -> Ended:
    try:
        if other is not None:
            value = other(*arguments)
            return Ended(await value if inspect.isawaitable(value) else value)
        work = getattr(step.node(), step.method)
        if step.asynchronous:
            return Ended(await work(*arguments))
        ended = await _in_thread(work, *arguments)
        return Ended(await ended.value) if inspect.isawaitable(ended.value) else ended
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        if _is_interrupt(error):
            raise
        return Ended(error=error)


async def _in_thread(work: Callable[..., Any], *arguments: object) -> Ended:
    values = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, values.run, _outcome_of, work, *arguments)


def _outcome_of(work: Callable[..., Any], *arguments: object) -> Ended:
    """Never raises: a ``StopIteration`` or ``SystemExit`` must not travel through a future into the event loop."""
    try:
        return Ended(work(*arguments))
    except BaseException as error:  # noqa: BLE001 - see above
        return Ended(error=error)


def _is_interrupt(error: BaseException) -> bool:
    """Say whether somebody pressed Ctrl-C: only the main thread gets that. ``SystemExit`` in a node is its error."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
