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

    def note(self, lease_ids: Iterable[UUID], freed: Iterable[FreedRun]) -> None:
        """Note the deaths of the processes that had these leases, and what was freed of their runs; never waits.

        Without leases only the spans of what was freed are made.
        """
        leases, lost = tuple(lease_ids), tuple((run.tenant, run.run_id, run.attempt) for run in freed)
        if records_spans() and (leases or lost):
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
                for at in range(0, len(keys), _CHUNK):
                    await self._make(keys[at : at + _CHUNK])
            except Exception:
                if deaths.tries >= _MOST_TRIES:
                    self._deaths.popleft()
                raise
            self._deaths.popleft()
            _log.info("spans of dead processes are made again", attempts=len(keys), lost=len(deaths.lost))

    async def _ended_lately(self, lease_ids: Sequence[UUID]) -> list[AttemptKey]:
        if not lease_ids:
            return []
        async with self._reading() as connection:
            return await ended_lately(connection, lease_ids, reach=self._reach, most=_MOST)

    async def _make(self, keys: Sequence[AttemptKey]) -> None:
        async with self._reading() as connection:
            attempts = await dead_attempts(connection, keys)
        emit(attempts)
        # The queue for export is bounded; waiting for it keeps what was made now from pushing out what was made before.
        await asyncio.to_thread(flush_spans, _FLUSH_SECONDS)


def emit(attempts: Iterable[DeadAttempt]) -> None:
    """Make the spans of ended attempts, of their nodes, and of the messages that they came in."""
    shared: defaultdict[tuple[str, str], list[tuple[DeadAttempt, SpanContext]]] = defaultdict(list)
    for attempt in attempts:
        origin = span_context_of(attempt.traceparent)
        if origin is None:
            continue
        own = _emit_attempt(attempt, origin)
        if is_shared(attempt.task_id):
            shared[attempt.task_id or "", attempt.worker].append((attempt, own))
    for (message_id, process), members in shared.items():
        span_id = handled_span(message_id, process=process)
        links = [Link(own, {key.LINK: LinkReason.RUN.value}) for _, own in members]
        made = _made([attempt for attempt, _ in members], span_id=span_id)
        emit_message_span(TASK_NAME, message_id, made, parent=sending_of(message_id, trace=None), links=links)


def _emit_attempt(attempt: DeadAttempt, origin: SpanContext) -> SpanContext:
    """Make the spans of a try and its nodes, the message's above them if it was theirs alone."""
    parent, links, message_id = origin, list[Link](), attempt.task_id or ""
    if is_alone(message_id):
        made = _made([attempt], span_id=handled_span(message_id, process=attempt.worker))
        parent = emit_message_span(TASK_NAME, message_id, made, parent=sending_of(message_id, trace=origin))
    elif is_shared(message_id):
        sending = sending_of(message_id, trace=None)
        handling = _sibling(sending, handled_span(message_id, process=attempt.worker))
        links.append(Link(handling, {key.LINK: LinkReason.MESSAGE.value}))
    if attempt.previous_span_id:
        links.append(Link(_sibling(origin, attempt.previous_span_id), {key.LINK: LinkReason.RETRY_OF.value}))
    ids = RunIds(
        run_id=attempt.run_id,
        event_id=attempt.event_id,
        event_type=attempt.event_type,
        pipeline=attempt.pipeline,
        attempt=attempt.attempt,
        queue=attempt.queue,
    )
    made = _made(
        [attempt],
        span_id=attempt.span_id,
        outcome=attempt.outcome,
        error=_error(attempt.error) if attempt.outcome in _ERRORS else None,
    )
    own = emit_run_span(ids, made, context=context_of(parent), links=links)
    for node in attempt.nodes:
        emit_node_span(node.node, _made_of_node(node, attempt), run=ids, item=node.item, parent=own)
    return own


def _made(attempts: Sequence[DeadAttempt], *, span_id: str, **how: Any) -> Made:
    return Made(
        span_id=span_id,
        began=min(_nanoseconds(attempt.started_at) for attempt in attempts),
        ended=max(_nanoseconds(attempt.finished_at) for attempt in attempts),
        process=attempts[0].worker,
        **how,
    )


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
