"""A tried run in the form of the API's answer, which the timeline shows."""

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from events import Cancelled, ErrorInfo, Failed, Retry, RunStatus, Succeeded, Suspended
from pipelines import NodeRecord
from throughline.trial.run import ENDS, Attempt, Tried, Wait

_NOT_HERE = ("cancel_requested_at", "replay_of", "replay_from", "replayed_by", "trace_id")
"""What can't befall a run that is only tried."""

_STATUS = {Succeeded: RunStatus.SUCCEEDED, Failed: RunStatus.FAILED, Cancelled: RunStatus.CANCELLED}


def story_of(tried: Tried) -> dict[str, Any]:
    """Return a run as ``GET /runs/{run_id}`` answers, and which nodes were answered for (``stood_in``)."""
    pipeline = tried.pipeline
    return {
        "run_id": str(tried.run_id),
        "event_id": str(tried.event.event_id),
        "type": tried.event.type,
        "pipeline": pipeline.name,
        "pipeline_version": pipeline.version,
        "queue": pipeline.queue,
        **_state(tried),
        **dict.fromkeys(_NOT_HERE),
        "attempts": [_attempt(attempt) for attempt in tried.attempts],
        "nodes": [
            *(_node(record, 0) for record in tried.taken_over),
            *(_node(record, attempt.number) for attempt in tried.attempts for record in attempt.records),
        ],
        "waits": [_wait(wait) for wait in tried.waits],
        "stood_in": dict(tried.stood_in),
        "awaits": asdict(tried.waits_for) if tried.waits_for else None,
    }


def _state(tried: Tried) -> dict[str, Any]:
    outcome, last = tried.outcome, tried.attempts[-1]
    status, error, made = _STATUS.get(type(outcome)), _error(outcome), tried.attempts[0].began.isoformat()
    return {
        "status": (status or RunStatus.QUEUED).value,
        "reason": outcome.reason.value if isinstance(outcome, Suspended) else None,
        "available_at": _wait(tried.waits[-1])["until"] if tried.waits_for else made,
        "attempt": last.number,
        "created_at": made,
        "finished_at": last.ended.isoformat() if status else None,
        "failure": {"kind": outcome.kind.value, "error": error} if isinstance(outcome, Failed) else None,
        "error": error,
        "cancel_reason": outcome.reason if isinstance(outcome, Cancelled) else None,
    }


def _wait(wait: Wait) -> dict[str, Any]:
    """Return a wait that lasts, or was over when it began."""
    awaited, lasts = wait.suspended.awaited, wait.lasts
    until = wait.began + timedelta(seconds=wait.suspended.delay if lasts else 0.0)
    return {
        "node": wait.suspended.node,
        "type": awaited.type if awaited else None,
        "path": awaited.path if awaited else None,
        "key": awaited.key if awaited else None,
        "began_at": wait.began.isoformat(),
        "until": until.isoformat(),
        "ended_at": None if lasts else wait.began.isoformat(),
        "event_id": str(wait.event.event_id) if wait.event else None,
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "attempt": attempt.number,
        "worker": "this process",
        "task_id": None,
        "started_at": attempt.began.isoformat(),
        "finished_at": attempt.ended.isoformat(),
        "outcome": ENDS[type(attempt.outcome)].value,
        "error": _error(attempt.outcome),
        "links": {"task": None},
    }


def _error(outcome: object) -> dict[str, Any] | None:
    error: ErrorInfo | None = outcome.error if isinstance(outcome, Retry | Failed) else None
    return asdict(error) if error else None


def _node(record: NodeRecord, attempt: int) -> dict[str, Any]:
    started: datetime = record.started_at
    return {
        "node": record.node,
        "item": record.item,
        "attempt": attempt,
        "status": record.status.value,
        "output": record.output,
        "error": asdict(record.error) if record.error else None,
        "started_at": started.isoformat(),
        "duration": record.duration,
    }
