from datetime import datetime
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import FastAPI, Query, Request, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.cursor import decode_cursor, encode_cursor
from api.incoming import LONGEST_SOURCE, LONGEST_TYPE, attribute_error
from api.problems import Problem, ProblemType
from api.rfc3339 import parse_time
from api.routes.documents import problems
from api.schemas import Event, EventPage, PageLinks
from api.services import services_of
from api.tenancy import tenant_of
from events import EventStatus
from storage.queries import EventFilter, get_event, list_events


def _plain(value: str) -> str:
    message = attribute_error(value, max(LONGEST_SOURCE, LONGEST_TYPE))
    if message:
        raise ValueError(message)
    return value


def _cursor(value: str) -> str:
    decode_cursor(value)
    return value


Text = Annotated[str, AfterValidator(_plain)]
Time = Annotated[datetime, BeforeValidator(parse_time)]


class EventQuery(BaseModel):
    """The parameters of ``GET /events``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Text | None = Field(default=None, description="Exact event type.")
    source: Text | None = Field(default=None, description="Exact source.")
    status: EventStatus | None = Field(default=None, description="Status as told by the event's runs.")
    pipeline: Text | None = Field(default=None, description="Events that went to this pipeline.")
    after: Time | None = Field(
        default=None, description="Received at or after; RFC 3339 with a zone (+ is sent as %2B)."
    )
    before: Time | None = Field(default=None, description="Received before; RFC 3339 with a zone.")
    limit: int = Field(default=50, ge=1, le=200, description="Events on a page, at most.")
    cursor: Annotated[str, AfterValidator(_cursor)] | None = Field(
        default=None, description="next_cursor of the page before; keep the other parameters as they were."
    )

    def filter(self) -> EventFilter:
        """Return what they mean to storage."""
        return EventFilter(
            type=self.type,
            source=self.source,
            status=self.status,
            pipeline=self.pipeline,
            after=self.after,
            before=self.before,
        )

    def link_to(self, cursor: str) -> str:
        """Return the address of the page after ``cursor``."""
        given = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return "/events?" + urlencode(given | {"cursor": cursor})


def register(app: FastAPI) -> None:
    """Add ``GET /events`` and ``GET /events/{event_id}``."""
    app.add_api_route(
        "/events",
        get_events,
        methods=["GET"],
        operation_id="listEvents",
        summary="List events, newest first",
        tags=["events"],
        response_class=Response,
        responses={
            200: {"model": EventPage},
            **problems(ProblemType.INVALID_REQUEST, ProblemType.UNAVAILABLE),
        },
    )
    app.add_api_route(
        "/events/{event_id}",
        get_one_event,
        methods=["GET"],
        operation_id="getEvent",
        summary="Follow one event",
        tags=["events"],
        response_class=Response,
        responses={
            200: {"model": Event},
            **problems(ProblemType.EVENT_NOT_FOUND, ProblemType.INVALID_REQUEST, ProblemType.UNAVAILABLE),
        },
    )


async def get_events(request: Request, query: Annotated[EventQuery, Query()]) -> Response:
    """List a page of events, newest first; follow ``links.next`` for the next one."""
    services = services_of(request)
    async with services.reading() as connection:
        found = await list_events(
            connection,
            tenant=tenant_of(request),
            matching=query.filter(),
            cursor=decode_cursor(query.cursor) if query.cursor else None,
            limit=query.limit + 1,
        )
    page = found[: query.limit]
    cursor = encode_cursor(page[-1].event_id) if len(found) > len(page) else None
    return _answer(
        EventPage(
            items=[services.presenter.summary(record) for record in page],
            next_cursor=cursor,
            links=PageLinks(next=query.link_to(cursor) if cursor else None),
        )
    )


async def get_one_event(request: Request, event_id: UUID) -> Response:
    """Tell the whole story of an event: its runs, each attempt, each node's result."""
    services = services_of(request)
    async with services.reading() as connection:
        record = await get_event(connection, tenant=tenant_of(request), event_id=event_id)
    if record is None:
        raise Problem(ProblemType.EVENT_NOT_FOUND, "No event has this event_id.")
    return _answer(services.presenter.event(record))


def _answer(model: BaseModel) -> Response:
    return Response(model.model_dump_json(), media_type="application/json", headers={"Cache-Control": "no-store"})
