"""The spans that a process took along when it died, made again from what it has committed."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from opentelemetry.trace import Link, SpanContext

from events import AttemptOutcome, ErrorInfo
from observability import attributes as key
from observability.logs import get_logger
from observability.tracing import (
    LinkReason,
    Made,
    RunIds,
    context_of,
    emit_message_span,
    emit_node_span,
    emit_run_span,
    flush_spans,
    handled_span,
    is_alone,
    is_shared,
    records_spans,
    sending_of,
    span_context_of,
)
from storage.bounded import Connection
from storage.dead_attempts import AttemptKey, DeadAttempt, DeadNode, dead_attempts, ended_lately
from storage.leases import FreedRun
from worker.app import TASK_NAME

_MOST: Final = 10_000
_MOST_TRIES: Final = 10
_CHUNK: Final = 100
_FLUSH_SECONDS: Final = 1.0
_MOST_NOTED: Final = 1_000
_ERRORS: Final = frozenset({AttemptOutcome.RETRIED, AttemptOutcome.FAILED})

_log = get_logger(__name__)

Reading = Callable[[], AbstractAsyncContextManager[Connection]]


@dataclass(slots=True)
class _Deaths:
    lease_ids: tuple[UUID, ...]
    lost: tuple[AttemptKey, ...]
    tries: int = 0


class LostSpans:
    """Makes spans of dead processes again: of tries that were lost, and of those that had ended just before.

    What a process finished within ``reach`` seconds before its last sign may not have been exported; what was, a
    backend gets once more, under the same ids. ``reading`` opens a connection on which each statement stands alone.
    """

    def __init__(self, reading: Reading, *, reach: float) -> None:
        self._reading = reading
        self._reach = reach
        self._deaths: deque[_Deaths] = deque()
        self._noted: deque[UUID] = deque(maxlen=_MOST_NOTED)

    def note(self, lease_ids: Iterable[UUID], freed: Iterable[FreedRun]) -> None:
        """Note the deaths of the processes that had these leases, and what was freed of their runs; never waits.

        Without leases only the spans of what was freed are made. So it is for a lease that was noted before: one whose
        runs somebody locks is ended once, and swept for as long as that lasts.
        """
        if not records_spans():
            return
        leases = tuple(lease_id for lease_id in lease_ids if lease_id not in self._noted)
        lost = tuple((run.tenant, run.run_id, run.attempt) for run in freed)
        self._noted.extend(leases)
        if leases or lost:
            self._deaths.append(_Deaths(leases, lost))

    async def make(self) -> None:
        """Make the spans of all deaths noted.

        Raises:
            Exception: what PostgreSQL says; the next call begins again, but not for ever.

        """
        while self._deaths:
            deaths = self._deaths[0]
            deaths.tries += 1
            try:
                keys = list(dict.fromkeys((*deaths.lost, *await self._ended_lately(deaths.lease_ids))))
                await self._make(keys)
            except Exception:
                if deaths.tries >= _MOST_TRIES:
                    self._deaths.popleft()
                    _log.warning("spans of dead processes are given up", lost=len(deaths.lost))
                raise
            self._deaths.popleft()
            _log.info("spans of dead processes are made again", attempts=len(keys), lost=len(deaths.lost))

    async def _ended_lately(self, lease_ids: Sequence[UUID]) -> list[AttemptKey]:
        if not lease_ids:
            return []
        async with self._reading() as connection:
            return await ended_lately(connection, lease_ids, reach=self._reach, most=_MOST)

    async def _make(self, keys: Sequence[AttemptKey]) -> None:
        messages = SharedMessages()
        for at in range(0, len(keys), _CHUNK):
            async with self._reading() as connection:
                attempts = await dead_attempts(connection, keys[at : at + _CHUNK])
            emit(attempts, messages)
            await _flush()
        while messages.emit(_CHUNK):
            await _flush()


class SharedMessages:
    """The messages with several runs that attempts came in."""

    def __init__(self) -> None:
        self._spans: defaultdict[tuple[str, str], list[tuple[Made, SpanContext]]] = defaultdict(list)

    def add(self, message_id: str, made: Made, own: SpanContext) -> None:
        """Add an attempt with its span."""
        self._spans[message_id, made.process].append((made, own))

    def emit(self, most: int = _MOST) -> int:
        """Make the spans of up to ``most`` of them, linked to the attempts'; return how many that were."""
        count = min(most, len(self._spans))
        for _ in range(count):
            (message_id, process), members = self._spans.popitem()
            made = Made(
                span_id=handled_span(message_id, process=process),
                began=min(one.began for one, _ in members),
                ended=max(one.ended for one, _ in members),
                process=process,
            )
            links = [Link(own, {key.LINK: LinkReason.RUN.value}) for _, own in members]
            emit_message_span(TASK_NAME, message_id, made, parent=sending_of(message_id, trace=None), links=links)
        return count


async def _flush() -> None:
    """The queue for export is bounded: what is made now must not push out what comes after."""
    await asyncio.to_thread(flush_spans, _FLUSH_SECONDS)


def emit(attempts: Iterable[DeadAttempt], messages: SharedMessages) -> None:
    """Make the spans of ended attempts, of their nodes, and of messages that had no other run."""
    for attempt in attempts:
        origin = span_context_of(attempt.traceparent)
        if origin is not None:
            _emit_attempt(attempt, origin, messages)


def _emit_attempt(attempt: DeadAttempt, origin: SpanContext, messages: SharedMessages) -> None:
    parent, links, message_id = origin, list[Link](), attempt.task_id or ""
    handled = handled_span(message_id, process=attempt.worker)
    if is_alone(message_id):
        made = _made(attempt, span_id=handled)
        parent = emit_message_span(TASK_NAME, message_id, made, parent=sending_of(message_id, trace=origin))
    elif is_shared(message_id):
        handling = _sibling(sending_of(message_id, trace=None), handled)
        links.append(Link(handling, {key.LINK: LinkReason.MESSAGE.value}))
    if attempt.previous_span_id:
        links.append(Link(_sibling(origin, attempt.previous_span_id), {key.LINK: LinkReason.RETRY_OF.value}))
    ids = _ids(attempt)
    error = _error(attempt.error) if attempt.outcome in _ERRORS else None
    made = _made(attempt, span_id=attempt.span_id, outcome=attempt.outcome, error=error)
    own = emit_run_span(ids, made, context=context_of(parent), links=links)
    if is_shared(message_id):
        messages.add(message_id, made, own)
    for node in attempt.nodes:
        emit_node_span(node.node, _made_of_node(node, attempt), run=ids, item=node.item, parent=own)


def _ids(attempt: DeadAttempt) -> RunIds:
    return RunIds(
        run_id=attempt.run_id,
        event_id=attempt.event_id,
        event_type=attempt.event_type,
        pipeline=attempt.pipeline,
        attempt=attempt.attempt,
        queue=attempt.queue,
    )


def _made(attempt: DeadAttempt, *, span_id: str, **how: Any) -> Made:
    began, ended = _nanoseconds(attempt.started_at), _nanoseconds(attempt.finished_at)
    return Made(span_id=span_id, began=began, ended=ended, process=attempt.worker, **how)


def _made_of_node(node: DeadNode, attempt: DeadAttempt) -> Made:
    began = _nanoseconds(node.started_at)
    return Made(
        span_id=node.span_id,
        began=began,
        ended=began + int(node.duration_seconds * 1e9),
        process=attempt.worker,
        outcome=node.status,
        error=_error(node.error),
    )


def _sibling(context: SpanContext, span_id: str) -> SpanContext:
    return SpanContext(context.trace_id, int(span_id, 16), is_remote=True, trace_flags=context.trace_flags)


def _error(error: dict[str, Any] | None) -> ErrorInfo | None:
    return ErrorInfo(type=str(error.get("type")), message=str(error.get("message"))) if error else None


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1000
