"""The plain design's Celery side, with Celery's own defaults: early acknowledgement, results kept, prefetch 4."""

import uuid
from datetime import UTC, datetime
from functools import cache
from typing import Any

from celery import Celery
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.references.environment import redis_url
from benchmarks.references.plain_model import PlainEvent, plain_engine

app = Celery("plain", broker=redis_url(), backend=redis_url())


@app.task(name="plain.process")  # type: ignore[untyped-decorator]  # Celery has no types
def process(event_id: str) -> dict[str, Any]:
    """Select, run three dictionary nodes, update, commit."""
    with _sessions()() as session:
        row = session.get_one(PlainEvent, uuid.UUID(event_id))
        context: dict[str, Any] = {"data": row.data, "nodes": {}}
        for node in (normalise, price, summarise):
            context["nodes"][node.__name__] = node(context)
        row.context = context
        row.finished_at = datetime.now(UTC)
        session.commit()
        return {"event_id": event_id}


def normalise(context: dict[str, Any]) -> dict[str, Any]:
    """Trim and lower."""
    data = context["data"]
    return {"customer": data["customer"].strip().lower(), "country": data["country"].upper()}


def price(context: dict[str, Any]) -> dict[str, Any]:
    """Sum the lines."""
    lines = context["data"]["lines"]
    return {"cents": sum(line["count"] * line["cents"] for line in lines), "lines": len(lines)}


def summarise(context: dict[str, Any]) -> dict[str, Any]:
    """Merge what came before."""
    done = context["nodes"]
    return {**done["normalise"], **done["price"], "total": f"{done['price']['cents']} cents"}


@cache
def _sessions() -> sessionmaker[Session]:
    """Make the engine in the child: connections don't survive a fork."""
    return sessionmaker(plain_engine(pool_size=1))
