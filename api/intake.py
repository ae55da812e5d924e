"""``POST /events`` from bytes to bytes: the hot path, so no framework stands in it."""

from dataclasses import dataclass
from typing import TypeAlias

from opentelemetry.trace import get_current_span
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope

from api.accept import Accepted, Acceptor, invalid, overloaded
from api.body import Headers, receive_json
from api.group_commit import GroupCommit
from api.incoming import IncomingEvent, InvalidEventError, event_of
from api.json_text import MalformedJsonError, is_suspect, parse_json
from api.presenting import Presenter
from api.problems import Problem, ProblemType, problem_content, problem_response, status_response
from api.tenancy import tenant_of
from events import JsonValue
from observability import attributes
from observability.tracing import traceparent_of
from settings import ApiSettings

ACCEPTED = 202
THERE = 200

RawHeaders: TypeAlias = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What a request is answered with."""

    status: int
    headers: RawHeaders
    body: bytes

    @classmethod
    def of(cls, response: Response) -> "Answer":
        """Take what a response would send."""
        return cls(response.status_code, response.raw_headers, bytes(response.body))


class Intake:
    """Answers ``POST /events``: one event, or a JSON array of them."""

    def __init__(
        self, acceptor: Acceptor, commits: GroupCommit, *, presenter: Presenter, settings: ApiSettings
    ) -> None:
        self._acceptor = acceptor
        self._commits = commits
        self._presenter = presenter
        self._most_bytes = settings.max_body_bytes
        self._most_events = settings.batch_max_events

    async def answer(self, scope: Scope, headers: Headers, receive: Receive) -> Answer:
        """Take in what a request sent; the answer comes after the commit."""
        request = Request(scope)
        try:
            return await self._take(headers, receive, tenant=tenant_of(request))
        except Problem as problem:
            return Answer.of(problem_response(request, problem))
        except ClientDisconnect:
            return Answer.of(status_response(request, 400))  # nobody reads it; the status is for the metrics

    async def _take(self, headers: Headers, receive: Receive, *, tenant: str) -> Answer:
        if self._commits.is_overloaded():
            raise overloaded()
        try:
            body = await receive_json(headers, receive, self._most_bytes)
            document = parse_json(body)
        except MalformedJsonError as error:
            self._acceptor.count_rejected()
            raise Problem(ProblemType.MALFORMED_JSON, f"The body is not JSON: {error}.") from None
        except Problem:
            self._acceptor.count_rejected()
            raise
        if isinstance(document, list):
            return await self._take_many(document, suspect=is_suspect(body), tenant=tenant)
        return await self._take_one(document, suspect=is_suspect(body), tenant=tenant)

    async def _take_one(self, document: JsonValue, *, suspect: bool, tenant: str) -> Answer:
        sent = self._read(document, suspect=suspect)
        accepted = sent if isinstance(sent, Problem) else await self._acceptor.accept(sent, tenant=tenant)
        if isinstance(accepted, Problem):
            raise accepted
        answer = _as_json(accepted.status, self._presenter.accepted(accepted))
        answer.headers.append((b"location", b"/events/%b" % accepted.event_id.encode()))
        return answer

    async def _take_many(self, documents: list[JsonValue], *, suspect: bool, tenant: str) -> Answer:
        if not documents:
            raise invalid([("body", "must hold at least one event")])
        if len(documents) > self._most_events:
            raise Problem(ProblemType.BODY_TOO_LARGE, f"A request may hold at most {self._most_events} events.")
        get_current_span().set_attribute(attributes.EVENTS, len(documents))
        sent = [self._read(document, suspect=suspect) for document in documents]
        events = [one for one in sent if isinstance(one, IncomingEvent)]
        taken = iter(await self._acceptor.accept_all(events, tenant=tenant, request=traceparent_of()))
        answers = [one if isinstance(one, Problem) else next(taken) for one in sent]
        problems = [one for one in answers if isinstance(one, Problem)]
        if len(problems) == len(answers):
            raise self._none_of(problems)
        is_new = any(isinstance(one, Accepted) and one.stored.created for one in answers)
        return _as_json(ACCEPTED if is_new else THERE, self._presenter.batch(answers))

    def _none_of(self, problems: list[Problem]) -> Problem:
        """Tell that nothing of a batch is stored, by its worst problem."""
        worst = max(problems, key=lambda one: one.status)
        detail = f"None of {len(problems)} events is stored; of one: {worst.detail}"
        headers = {name: value for name, value in worst.headers.items() if name == "Retry-After"}
        items = [{"status": one.status, "problem": problem_content(one)} for one in problems]
        return Problem(worst.type, detail, headers=headers, members={"items": items})

    def _read(self, document: JsonValue, *, suspect: bool) -> IncomingEvent | Problem:
        try:
            return event_of(document, suspect=suspect)
        except InvalidEventError as error:
            self._acceptor.count_rejected(error.type)
            return invalid(error.errors)


def _as_json(status: int, body: bytes) -> Answer:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Answer(status, headers, body)
