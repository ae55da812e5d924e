"""From a request's body to the row that stands for it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from opentelemetry.trace import Span, Status, StatusCode

from api.group_commit import GroupCommit
from api.incoming import IncomingEvent
from api.pending import NotStored, OutcomeUnknown, Unstorable
from api.policies import has_policy, policy_of
from api.problems import Problem, ProblemType
from events import DEFAULT_SOURCE
from observability import attributes
from observability.logs import get_logger, tell_all
from observability.metrics import EventOutcome, Metrics, event_type_label
from observability.tracing import AcceptSpan, accept_span, accept_spans, traceparent_of
from pipelines import Pipeline, PipelineRegistry
from pipelines.paths import Attributes, value_at
from storage.batching import Overloaded
from storage.ids import new_id
from storage.policies import RunPolicy
from storage.records import NewEvent, NewKey, NewRun, StoredEvent

_RETRY_AFTER = {"Retry-After": "1"}
_MOST_ERRORS = 20
_TRACE_ID = slice(3, 35)
_SPAN_ID = slice(36, 52)

_LOGGED = {outcome: "event " + outcome for outcome in EventOutcome}


class Accepted(NamedTuple):
    """What stands for an event that was sent, and under which CloudEvents id, source and type."""

    stored: StoredEvent
    event_id: str
    ce_id: str
    source: str
    type: str

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 202 if self.stored.created else 200


_log = get_logger(__name__)

_Told = list[tuple[str, EventOutcome, Mapping[str, object]]]
"""What stands, to be counted and logged: the event's type, what became of it, and the fields of its line."""


class Acceptor:
    """Takes events in: validates, stores, counts and logs."""

    def __init__(self, registry: PipelineRegistry, commits: GroupCommit, *, metrics: Metrics) -> None:
        self._registry = registry
        self._commits = commits
        self._metrics = metrics
        self._known = registry.types

    async def accept(self, incoming: IncomingEvent, *, tenant: str) -> Accepted | Problem:
        """Store an event; returns after the commit.

        What it is refused with is returned, since a client's mistake is no error of the span's: 422 its data is not
        valid, 409 its key has another content, 503 PostgreSQL is away or too slow.
        """
        event_id = new_id()
        shown = str(event_id)
        with accept_span(shown, incoming.type, tenant=tenant) as span:
            new = self._check(incoming, event_id, shown, span, traceparent_of(span), tenant=tenant)
            if isinstance(new, Problem):
                return new
            try:
                found: StoredEvent | Exception = await self._commits.store(new)
            except (Unstorable, Overloaded, NotStored, OutcomeUnknown) as error:
                found = error
            told: _Told = []
            answer = self._settle(incoming, new, found, span, told)
            self._tell(told)
            return answer

    async def accept_all(
        self, sent: Sequence[IncomingEvent], *, tenant: str, request: str | None
    ) -> list[Accepted | Problem]:
        """Store several events of one request, whose traceparent is ``request``; each has an answer as from ``accept``.

        Each has a trace of its own, as if it had come alone, linked to the request's.
        """
        ids = [new_id() for _ in sent]
        shown = list(map(str, ids))
        begun = accept_spans(
            [(event_id, incoming.type) for event_id, incoming in zip(shown, sent, strict=True)],
            tenant=tenant,
            request=request,
        )
        told: _Told = []
        try:
            checked = [
                self._check(incoming, event_id, text, span, span.traceparent, tenant=tenant)
                for incoming, event_id, text, span in zip(sent, ids, shown, begun.spans, strict=True)
            ]
            found = iter(await self._commits.store_all([new for new in checked if isinstance(new, NewEvent)]))
            return [
                new if isinstance(new, Problem) else self._settle_apart(incoming, new, next(found), span, told)
                for incoming, new, span in zip(sent, checked, begun.spans, strict=True)
            ]
        finally:
            begun.end()
            self._tell(told)

    def count_rejected(self, event_type: str | None = None) -> None:
        """Count an event that was turned away; None where its type isn't known."""
        self._count(event_type or "", EventOutcome.REJECTED)

    def _check(
        self,
        incoming: IncomingEvent,
        event_id: UUID,
        shown: str,
        span: Span | AcceptSpan,
        traceparent: str | None,
        *,
        tenant: str,
    ) -> NewEvent | Problem:
        """Make the row of an event, if its data is what its pipelines take."""
        problems = self._registry.validate(incoming.type, incoming.data)
        if problems:
            return self._rejected(
                incoming.type,
                invalid([(".".join(map(str, item.path)), item.message) for item in problems[:_MOST_ERRORS]]),
                span,
            )
        awaited = self._registry.awaited(incoming.type)
        return NewEvent(
            tenant=tenant,
            event_id=event_id,
            source=incoming.source or DEFAULT_SOURCE,
            ce_id=incoming.id or shown,
            type=incoming.type,
            subject=incoming.subject,
            time=incoming.time,
            data=incoming.text.decode(),
            content_hash=incoming.content_hash,
            traceparent=traceparent,
            runs=tuple(
                [
                    NewRun(new_id(), pipeline.name, pipeline.version, pipeline.queue, _policy(pipeline, incoming))
                    for pipeline in self._registry.route(incoming.type)
                ]
            ),
            awaited=bool(awaited),
            keys=_keys({one.path for one in awaited}, incoming) if awaited else (),
        )

    def _settle(
        self,
        incoming: IncomingEvent,
        new: NewEvent,
        found: StoredEvent | Exception,
        span: Span | AcceptSpan,
        told: _Told,
    ) -> Accepted | Problem:
        """Make the answer of what the flush gave."""
        if isinstance(found, StoredEvent):
            return self._judge(new, found, span, told)
        if isinstance(found, Unstorable):
            return self._rejected(new.type, _unstorable(found), span)
        problem = _not_now(found, new, incoming)
        span.set_attribute(attributes.ERROR_TYPE, type(found).__name__)
        span.set_status(Status(StatusCode.ERROR, problem.detail))
        return problem

    def _settle_apart(
        self, incoming: IncomingEvent, new: NewEvent, found: StoredEvent | Exception, span: AcceptSpan, told: _Told
    ) -> Accepted | Problem:
        """Make the answer of an event beside others: a fault of ours is its own, and not theirs to suffer."""
        try:
            return self._settle(incoming, new, found, span, told)
        except Exception as error:  # noqa: BLE001 - it is told, and what stands is told too
            _log.exception("an event of an array failed", event_id=str(new.event_id))
            span.set_attribute(attributes.ERROR_TYPE, type(error).__name__)
            span.set_status(Status(StatusCode.ERROR, "internal"))
            return Problem(ProblemType.INTERNAL, "Something went wrong here; trace_id finds the log lines.")

    def _judge(self, new: NewEvent, stored: StoredEvent, span: Span | AcceptSpan, told: _Told) -> Accepted | Problem:
        """Tell a new event from one sent again and from another under the same key."""
        if not stored.created and stored.content_hash != new.content_hash:
            return self._rejected(new.type, _conflict(stored), span)
        outcome = EventOutcome.DUPLICATE
        if stored.created:
            outcome = _taken_in(new)
        span.set_attribute(attributes.OUTCOME, outcome)
        event_id = str(stored.event_id)
        line: dict[str, object] = {"event_id": event_id, "runs": len(stored.runs)}
        if ours := new.traceparent:
            line["trace_id"], line["span_id"] = ours[_TRACE_ID], ours[_SPAN_ID]
        told.append((new.type, outcome, line))
        return Accepted(stored, event_id, new.ce_id, new.source, new.type)

    def _rejected(self, event_type: str, problem: Problem, span: Span | AcceptSpan) -> Problem:
        self.count_rejected(event_type)
        span.set_attribute(attributes.OUTCOME, EventOutcome.REJECTED)
        return problem

    def _tell(self, told: _Told) -> None:
        """Count and log what stands."""
        for (event_type, outcome), events in Counter(
            [(event_type, outcome) for event_type, outcome, _ in told]
        ).items():
            self._count(event_type, outcome, events)
        tell_all(__name__, [(_LOGGED[outcome], line) for _, outcome, line in told])

    def _count(self, event_type: str, outcome: EventOutcome, events: int = 1) -> None:
        self._metrics.events.labels(type=event_type_label(event_type, self._known), outcome=outcome).inc(events)


def _policy(pipeline: Pipeline[Any], incoming: IncomingEvent) -> RunPolicy | None:
    return policy_of(pipeline, _attributes(incoming)) if has_policy(pipeline) else None


def _keys(paths: Iterable[str], incoming: IncomingEvent) -> tuple[NewKey, ...]:
    """Return what waits can find the event by; a path that leads to no value gives none."""
    attributes = _attributes(incoming)
    found = ((path, value_at(path, attributes)) for path in sorted(paths))
    return tuple(NewKey(path, key) for path, key in found if key is not None)


def _attributes(incoming: IncomingEvent) -> Attributes:
    return Attributes(
        type=incoming.type,
        source=incoming.source or DEFAULT_SOURCE,
        subject=incoming.subject,
        data=incoming.data,
    )


def _taken_in(new: NewEvent) -> EventOutcome:
    if new.runs:
        return EventOutcome.ACCEPTED
    return EventOutcome.AWAITED if new.awaited else EventOutcome.UNROUTED


def invalid(errors: list[tuple[str, str]]) -> Problem:
    """Refuse an event for what is wrong with its fields."""
    field, message = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(ProblemType.INVALID_EVENT, f"{field}: {message}{more}", errors=errors)


def overloaded() -> Problem:
    """Refuse an event for the many that wait."""
    return Problem(ProblemType.OVERLOADED, "Too many events wait; send it again.", headers=_RETRY_AFTER)


def _not_now(error: Exception, new: NewEvent, incoming: IncomingEvent) -> Problem:
    """Refuse what may be stored another time.

    Raises:
        Exception: it is none of what GroupCommit announces, and so a fault of ours.

    """
    if isinstance(error, Overloaded):
        return overloaded()
    if isinstance(error, NotStored):
        return Problem(ProblemType.UNAVAILABLE, "PostgreSQL is away; nothing was stored.", headers=_RETRY_AFTER)
    if isinstance(error, OutcomeUnknown):
        return _unknown(new, incoming)
    raise error


def _unstorable(error: Unstorable) -> Problem:
    message = f"PostgreSQL can't store this value (SQLSTATE {error})"
    return Problem(ProblemType.INVALID_EVENT, message, errors=[("data", message)])


def _conflict(stored: StoredEvent) -> Problem:
    return Problem(
        ProblemType.EVENT_CONFLICT,
        "An event with this source and id, but other content, is already there.",
        headers={"Location": f"/events/{stored.event_id}"},
        members={"event_id": str(stored.event_id)},
    )


def _unknown(new: NewEvent, incoming: IncomingEvent) -> Problem:
    """Say how to find out. Without an id of the client's own, sending it again could make a second event."""
    mend = (
        "send it again with the same source and id: it is stored once"
        if incoming.id
        else "look whether it is there before you send it again, or give it an id"
    )
    return Problem(
        ProblemType.OUTCOME_UNKNOWN,
        f"The commit's answer was lost, so the event may have been stored as {new.event_id}: {mend}.",
        headers=_RETRY_AFTER,
        members={"event_id": str(new.event_id)},
    )
