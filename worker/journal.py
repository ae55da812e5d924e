import asyncio
import json
from collections.abc import Callable
from typing import Final

from events import ErrorInfo, JsonValue
from pipelines import NodeRecord
from storage.outcomes import NodeWrite
from storage.records import ClaimedRun, NodeResult
from worker.writes import Writes

_MOST_PENDING: Final = 200
"""Results that may wait for another write: a map over many items must not end in one huge statement."""


class RunJournal:
    """A run's node results on their way to PostgreSQL: at once if durable, otherwise with whatever is written next."""

    def __init__(self, run: ClaimedRun, writes: Writes, *, is_held: Callable[[], bool] = lambda: True) -> None:
        self._run = run
        self._writes = writes
        self._is_held = is_held
        self._pending: dict[tuple[str, int], NodeWrite] = {}

    def begin(self) -> None:
        """Let a node be called, if the run is still held.

        Raises:
            asyncio.CancelledError: it may be another's by now.

        """
        if not self._is_held():
            raise asyncio.CancelledError("the lease is lost")

    async def record(self, result: NodeRecord, *, durable: bool) -> None:
        """Keep ``result``.

        Raises:
            StaleAttempt: the run is no longer this attempt's.

        """
        self._pending[result.node, result.item] = self._write_of(result)
        if durable or len(self._pending) >= _MOST_PENDING:
            written = self.pending
            await self._writes.checkpoint(written)
            for node in written:
                if self._pending.get((node.result.node, node.result.item)) is node:
                    del self._pending[node.result.node, node.result.item]

    @property
    def pending(self) -> tuple[NodeWrite, ...]:
        """What is not written yet."""
        return tuple(self._pending.values())

    def _write_of(self, record: NodeRecord) -> NodeWrite:
        return NodeWrite(
            tenant=self._run.event.tenant,
            run_id=self._run.run_id,
            attempt=self._run.attempt,
            output=_output_json(record),
            error=error_json(record.error),
            result=NodeResult(
                node=record.node,
                item=record.item,
                attempt=self._run.attempt,
                status=record.status,
                output=None,
                error=None,
                started_at=record.started_at,
                duration_seconds=record.duration,
                span_id=record.span_id,
            ),
        )


def record_of(result: NodeResult) -> NodeRecord:
    """Return a stored result as the pipeline takes it up again."""
    return NodeRecord(
        node=result.node,
        item=result.item,
        status=result.status,
        output=result.output,
        started_at=result.started_at,
        duration=result.duration_seconds,
        span_id=result.span_id,
    )


def _output_json(record: NodeRecord) -> str | None:
    if record.output is None:
        return None
    return to_json(record.output) if record.text is None else record.text


def error_json(error: ErrorInfo | None) -> str | None:
    """Write an error as it is stored."""
    if error is None:
        return None
    value: dict[str, JsonValue] = {
        "type": error.type,
        "message": error.message,
        "node": error.node,
        "traceback": error.traceback,
    }
    return to_json(value | {"nodes": list(error.nodes)} if error.nodes else value)


def to_json(value: JsonValue) -> str:
    """Write a value as JSON text. Integers of any size stay what they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
