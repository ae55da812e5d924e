from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, SecretStr

from api.app import create_app
from events import new_id
from pipelines import EventSchema, Node, Pipeline, PipelineRegistry, TaskContext
from settings import ApiSettings, DatabaseSettings, Settings
from storage.records import NewEvent, NewRun


class Issue(BaseModel):
    """What the issue of ``test.issue`` must have."""

    number: int
    title: str


class IssueEvent(EventSchema):
    """The data of ``test.issue``."""

    issue: Issue


class AnyEvent(EventSchema):
    """Data of any shape that is an object."""


class Seen(BaseModel):
    """What ``Look`` gives back."""

    type: str


class Look(Node[Seen]):
    """Looks at the event's type."""

    async def run(self, ctx: TaskContext[EventSchema]) -> Seen:
        """Return the type."""
        return Seen(type=ctx.event.type)


REGISTRY = PipelineRegistry(
    [
        Pipeline(name="issues", version=2, types=("test.older",), schema=AnyEvent, start=Look),
        Pipeline(name="issues", version=3, types=("test.issue",), schema=IssueEvent, start=Look),
        Pipeline(name="audit", types=("test.issue", "test.any.*"), schema=AnyEvent, start=Look, queue="audit"),
    ]
)
"""``test.issue`` goes to ``issues`` and ``audit``, ``test.any.…`` to ``audit`` alone, anything else to nobody."""

ISSUE = {"type": "test.issue", "data": {"issue": {"number": 7, "title": "Checkout fails"}}}
ANY = {"type": "test.any.thing", "data": {}}


def new_event(data: str) -> NewEvent:
    """Make an event with one run, as it goes to storage; ``data`` is JSON text."""
    return NewEvent(
        tenant="default",
        event_id=new_id(),
        source="/test",
        ce_id=str(new_id()),
        type="a",
        subject=None,
        time=None,
        data=data,
        content_hash=b"",
        traceparent=None,
        runs=(NewRun(run_id=new_id(), pipeline="audit", pipeline_version=1, queue="audit"),),
    )


def make_app(
    database_url: str,
    *,
    collectors: CollectorRegistry | None = None,
    registry: PipelineRegistry = REGISTRY,
    **api: Any,
) -> FastAPI:
    """Make the app over a database; nothing is connected until it runs."""
    settings = Settings(database=DatabaseSettings(url=SecretStr(database_url)), api=ApiSettings(**api))
    return create_app(settings, registry=registry, collectors=collectors or CollectorRegistry())


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Return a client that calls the app in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", timeout=30)


@asynccontextmanager
async def running_api(database_url: str, **api: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app in this process, from its start to its end."""
    app = make_app(database_url, **api)
    async with app.router.lifespan_context(app), client_of(app) as client:
        yield client
