"""The plain design's HTTP side: one commit and one ``send_task`` a request, in a thread."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy.orm import sessionmaker

from benchmarks.flow import Order
from benchmarks.references.plain_model import PlainEvent, plain_engine
from benchmarks.references.plain_worker import app as celery
from benchmarks.references.plain_worker import process

_SESSIONS = sessionmaker(plain_engine(pool_size=40))

app = FastAPI()


class Incoming(BaseModel):
    """The body."""

    type: str
    source: str
    id: str
    data: Order


@app.get("/health/ready")
def ready() -> None:
    """Say that it answers."""


@app.post("/events", status_code=202)
def post_event(event: Incoming) -> dict[str, Any]:
    """Insert, commit, refresh, send."""
    with _SESSIONS() as session:
        row = PlainEvent(type=event.type, data=event.data.model_dump(mode="json"))
        session.add(row)
        session.commit()
        session.refresh(row)
        sent = celery.send_task(process.name, args=[str(row.id)])
        return {"event_id": str(row.id), "task_id": sent.id}
