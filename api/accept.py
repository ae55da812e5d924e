"""From a request's body to the row that stands for it."""

from dataclasses import dataclass
from uuid import UUID

from opentelemetry.trace import Span

from api.group_commit import GroupCommit, NotStored, OutcomeUnknown, Unstorable
from api.incoming import IncomingEvent, InvalidEventError, read_event
from api.json_text import MalformedJsonError
from api.problems import Problem, ProblemType
from events import DEFAULT_SOURCE, new_id
from observability.logs import get_logger
from observability.metrics import EventOutcome, Metrics, event_type_label
from observability.tracing import accept_span, set_outcome, traceparent_of
from pipelines import PipelineRegistry
from storage.batching import Overloaded
from storage.records import NewEvent, NewRun, StoredEvent

_RETRY_AFTER = {"Retry-After": "1"}
_MOST_ERRORS = 20

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What stands for an event that was sent, and under which CloudEvents id, source and type."""

    stored: StoredEvent
    ce_id: str
    source: str
    type: str


class Acceptor:
    """Takes events in: validates, stores, counts and logs."""

    def __init__(self, registry: PipelineRegistry, commits: GroupCommit, *, metrics: Metrics) -> None:
        self._registry = registry
        self._commits = commits
        self._metrics = metrics
        self._known = registry.types

    async def accept(self, body: bytes, *, tenant: str) -> Accepted:
        """Store the event in ``body``; returns after the commit.

        Raises:
            Problem: 400 or 422 it is not valid, 409 its key has another content, 503 PostgreSQL is away or too slow.

        """
        incoming = self._read(body)
        event_id = new_id()
        with accept_span(event_id, incoming.type, tenant=tenant) as span:
            answer = await self._store(incoming, event_id, tenant=tenant, span=span)
        if isinstance(answer, Problem):
            raise answer
        return answer

    def count_rejected(self, event_type: str | None = None) -> None:
        """Count an event that was turned away; None where its type isn't known."""
        self._count(event_type or "", EventOutcome.REJECTED)

    def _read(self, body: bytes) -> IncomingEvent:
        try:
            return read_event(body)
        except MalformedJsonError as error:
            self.count_rejected()
            raise Problem(ProblemType.MALFORMED_JSON, f"The body is not JSON: {error}.") from None
        except InvalidEventError as error:
            self.count_rejected(error.type)
            raise _invalid(error.errors) from None

    async def _store(self, incoming: IncomingEvent, event_id: UUID, *, tenant: str, span: Span) -> Accepted | Problem:
        """Validate the data and store. A client's mistake is returned: raised, it would mark the span as our error."""
        problems = self._registry.validate(incoming.type, incoming.data)
        if problems:
            self.count_rejected(incoming.type)
            set_outcome(span, EventOutcome.REJECTED)
            return _invalid([(".".join(map(str, item.path)), item.message) for item in problems[:_MOST_ERRORS]])
        new = self._new_event(incoming, event_id, tenant=tenant, traceparent=traceparent_of(span))
        try:
            stored = await self._commits.store(new)
        except Unstorable as error:
            self.count_rejected(incoming.type)
            return _unstorable(error)
        except Overloaded as error:
            raise Problem(
                ProblemType.OVERLOADED, "Too many events wait; send it again.", headers=_RETRY_AFTER
            ) from error
        except NotStored as error:
            raise Problem(
                ProblemType.UNAVAILABLE, "PostgreSQL is away; nothing was stored.", headers=_RETRY_AFTER
            ) from error
        except OutcomeUnknown as error:
            raise _unknown(new, incoming) from error
        return self._judge(new, stored, span)

    def _new_event(self, incoming: IncomingEvent, event_id: UUID, *, tenant: str, traceparent: str | None) -> NewEvent:
        return NewEvent(
            tenant=tenant,
            event_id=event_id,
            source=incoming.source or DEFAULT_SOURCE,
            ce_id=incoming.id or str(event_id),
            type=incoming.type,
            subject=incoming.subject,
            time=incoming.time,
            data=incoming.text.decode(),
            content_hash=incoming.content_hash,
            traceparent=traceparent,
            runs=tuple(
                NewRun(run_id=new_id(), pipeline=pipeline.name, pipeline_version=pipeline.version, queue=pipeline.queue)
                for pipeline in self._registry.route(incoming.type)
            ),
        )

    def _judge(self, new: NewEvent, stored: StoredEvent, span: Span) -> Accepted | Problem:
        """Tell a new event from one sent again and from another under the same key; count it and log it."""
        if not stored.created and stored.content_hash != new.content_hash:
            self.count_rejected(new.type)
            set_outcome(span, EventOutcome.REJECTED)
            return _conflict(stored)
        outcome = EventOutcome.DUPLICATE
        if stored.created:
            outcome = EventOutcome.ACCEPTED if new.runs else EventOutcome.UNROUTED
        self._count(new.type, outcome)
        set_outcome(span, outcome)
        _log.info("event " + outcome, event_id=str(stored.event_id), runs=len(stored.runs))
        return Accepted(stored=stored, ce_id=new.ce_id, source=new.source, type=new.type)

    def _count(self, event_type: str, outcome: EventOutcome) -> None:
        self._metrics.events.labels(type=event_type_label(event_type, self._known), outcome=outcome).inc()


def _invalid(errors: list[tuple[str, str]]) -> Problem:
    field, message = errors[0]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return Problem(ProblemType.INVALID_EVENT, f"{field}: {message}{more}", errors=errors)


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
