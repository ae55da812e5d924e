"""Records of storage as answers."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson

from api import schemas
from api.accept import Accepted
from api.problems import Problem, problem_content
from api.run_schemas import RunDetail
from observability.tracing import trace_id_of
from settings import ApiSettings
from storage.permits import ShownLimit
from storage.records import (
    AttemptRecord,
    EventRecord,
    EventSummary,
    NodeResult,
    RunRecord,
    WaitRecord,
    status_of,
)
from storage.runs import RunStory

_TRACE_ID = slice(3, 35)
"""Where it stands in a traceparent of our own."""


class Presenter:
    """Turns records into answers, with links to where people look further."""

    def __init__(self, settings: ApiSettings) -> None:
        self._flower_url = (settings.flower_url or "").rstrip("/")
        self._trace_url = settings.trace_url_template or ""

    def accepted(self, accepted: Accepted) -> bytes:
        """Write ``schemas.AcceptedEvent`` as JSON, by hand: this is the hot path."""
        return self._accepted(accepted).encode()

    def batch(self, answers: Sequence[Accepted | Problem]) -> bytes:
        """Write ``schemas.AcceptedBatch`` as JSON; the items stand in the order in which their events were sent."""
        statuses = [one.status for one in answers]
        accepted, duplicates = statuses.count(202), statuses.count(200)
        items = [
            f'{{"status":{status},"problem":{_json(problem_content(one))}}}'
            if isinstance(one, Problem)
            else f'{{"status":{status},"event":{self._accepted(one)}}}'
            for status, one in zip(statuses, answers, strict=True)
        ]
        refused = len(statuses) - accepted - duplicates
        counts = f'"accepted":{accepted},"duplicates":{duplicates},"refused":{refused}'
        return f'{{{counts},"items":[{",".join(items)}]}}'.encode()

    def _accepted(self, accepted: Accepted) -> str:
        stored, event_id, ce_id, source, type_ = accepted
        trace_id = stored.traceparent[_TRACE_ID] if stored.traceparent else None
        runs = [
            f'{{"run_id":"{run.run_id}","pipeline":{_quoted(run.pipeline)},"status":"{run.status}"}}'
            for run in stored.runs
        ]
        trace = f'"{trace_id}"' if trace_id else "null"
        link = _json(self._trace_url.replace("{trace_id}", trace_id)) if self._trace_url and trace_id else "null"
        return (
            f'{{"event_id":"{event_id}","id":{_json(ce_id)},"source":{_quoted(source)},"type":{_quoted(type_)},'
            f'"status":"{status_of(stored.runs, awaited=stored.awaited)}","trace_id":{trace},"runs":[{",".join(runs)}],'
            f'"links":{{"self":"/events/{event_id}","trace":{link}}}}}'
        )

    def summary(self, record: EventSummary) -> schemas.EventSummary:
        """Present an event in a list."""
        trace_id = trace_id_of(record.traceparent)
        return schemas.EventSummary(
            event_id=record.event_id,
            id=record.ce_id,
            source=record.source,
            type=record.type,
            subject=record.subject,
            status=record.status,
            received_at=record.received_at,
            trace_id=trace_id,
            runs=[
                schemas.RunSummary(run_id=run.run_id, pipeline=run.pipeline, status=run.status, replay_of=run.replay_of)
                for run in record.runs
            ],
            links=schemas.EventLinks(**self._links(record.event_id, trace_id)),
        )

    def event(self, record: EventRecord) -> schemas.Event:
        """Present an event with its whole story."""
        event = record.event
        trace_id = trace_id_of(event.traceparent)
        return schemas.Event(
            event_id=event.event_id,
            id=event.ce_id,
            source=event.source,
            type=event.type,
            subject=event.subject,
            time=event.time,
            data=event.data,
            received_at=event.received_at,
            status=record.status,
            trace_id=trace_id,
            traceparent=event.traceparent,
            runs=[self._run(run, event_id=event.event_id, trace=trace_id) for run in record.runs],
            ended_waits=[
                schemas.EndedWait(run_id=wait.run_id, node=wait.node, ended_at=wait.ended_at)
                for wait in record.ended_waits
            ],
            links=schemas.EventLinks(**self._links(event.event_id, trace_id)),
        )

    def run(self, story: RunStory) -> RunDetail:
        """Present a run with its whole story."""
        run = self._run(story.run, event_id=story.event_id, trace=trace_id_of(story.traceparent))
        return RunDetail(
            **dict(run),
            event_id=story.event_id,
            type=story.event_type,
            replayed_by=story.replayed_by,
        )

    def _run(self, run: RunRecord, *, event_id: UUID, trace: str | None) -> schemas.Run:
        """Present a run with its attempts and nodes; ``trace`` is its event's trace id."""
        trace_id = trace_id_of(run.traceparent) or trace
        return schemas.Run(
            run_id=run.run_id,
            pipeline=run.pipeline,
            pipeline_version=run.pipeline_version,
            queue=run.queue,
            status=run.status,
            reason=run.reason,
            available_at=run.available_at,
            attempt=run.attempt,
            errors=run.errors,
            deaths=run.deaths,
            created_at=run.created_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            failure=schemas.Failure(kind=run.failure_kind, error=run.error) if run.failure_kind else None,
            error=run.error,
            cancel_requested_at=run.cancel_requested_at,
            cancel_reason=run.cancel_reason,
            replay_of=run.replay_of,
            replay_from=run.replay_from,
            priority=run.priority,
            expires_at=run.expires_at,
            unique_key=run.unique_key,
            limits=[schemas.RunLimit(**asdict(limit)) for limit in run.limits],
            admitted_at=run.admitted_at,
            waits_for=[_awaited(shown) for shown in run.waits_for],
            trace_id=trace_id,
            attempts=[self._attempt(attempt) for attempt in run.attempts],
            nodes=[_node(node) for node in run.nodes],
            waits=[_wait(wait) for wait in run.waits],
            links=schemas.RunLinks(
                self=f"/runs/{run.run_id}", event=f"/events/{event_id}", trace=self._trace_link(trace_id)
            ),
        )

    def _attempt(self, record: AttemptRecord) -> schemas.Attempt:
        task = f"{self._flower_url}/task/{record.task_id}" if self._flower_url and record.task_id else None
        return schemas.Attempt(
            attempt=record.attempt,
            worker=record.worker,
            task_id=record.task_id,
            span_id=record.span_id,
            started_at=record.started_at,
            finished_at=record.finished_at,
            outcome=record.outcome,
            error=record.error,
            links=schemas.AttemptLinks(task=task),
        )

    def _links(self, event_id: UUID | str, trace_id: str | None) -> dict[str, Any]:
        return {"self": f"/events/{event_id}", "trace": self._trace_link(trace_id)}

    def _trace_link(self, trace_id: str | None) -> str | None:
        return self._trace_url.replace("{trace_id}", trace_id) if self._trace_url and trace_id else None


def _json(value: object) -> str:
    return orjson.dumps(value, default=str).decode()


_quoted = lru_cache(maxsize=1024)(_json)
"""For texts that come again and again."""


def _awaited(shown: ShownLimit) -> schemas.AwaitedLimit:
    return schemas.AwaitedLimit(**asdict(shown.limit), held=shown.held, started=shown.started, full=shown.is_full)


def _node(record: NodeResult) -> schemas.NodeResult:
    return schemas.NodeResult(
        node=record.node,
        item=record.item,
        attempt=record.attempt,
        status=record.status,
        output=record.output,
        error=record.error,
        started_at=record.started_at,
        duration=record.duration_seconds,
        span_id=record.span_id,
    )


def _wait(record: WaitRecord) -> schemas.Wait:
    return schemas.Wait(
        node=record.node,
        type=record.type,
        path=record.path,
        key=record.key,
        began_at=record.began_at,
        until=record.until,
        ended_at=record.ended_at,
        event_id=record.event_id,
    )
