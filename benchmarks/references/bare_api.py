"""A FastAPI handler that validates the same schema and stores nothing."""

from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.flow import Order

app = FastAPI()


class Incoming(BaseModel):
    """The body."""

    type: str
    source: str
    id: str
    data: Order


@app.get("/health/ready")
async def ready() -> None:
    """Say that it answers."""


@app.post("/events", status_code=202)
async def post_event(event: Incoming) -> dict[str, str]:
    """Answer with the id."""
    return {"event_id": event.id}
