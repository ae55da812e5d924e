"""The ids of a message's spans. They follow from the message's own id, so that who knows that can make them again."""

from hashlib import blake2b
from typing import Final
from uuid import uuid4

_ALONE: Final = "run-"
_SHARED: Final = "batch-"


def new_message_id(*, shared: bool) -> str:
    """Return the id of a message to be sent; ``shared``: it has several runs."""
    return f"{_SHARED if shared else _ALONE}{uuid4()}"


def is_alone(message_id: str | None) -> bool:
    """Say whether the message has one run, and its spans stand in that one's trace."""
    return message_id is not None and message_id.startswith(_ALONE)


def is_shared(message_id: str | None) -> bool:
    """Say whether the message has several runs, and a trace of its own."""
    return message_id is not None and message_id.startswith(_SHARED)


def trace_of(message_id: str) -> str:
    """Return the id of a shared message's trace, 32 hex digits."""
    return _digest(16, "trace", message_id)


def sent_span(message_id: str) -> str:
    """Return the id of the span in which the message is sent, 16 hex digits."""
    return _digest(8, "sent", message_id)


def handled_span(message_id: str, *, process: str) -> str:
    """Return the id of the span in which ``process`` handles the message, 16 hex digits."""
    return _digest(8, "handled", message_id, process)


def _digest(size: int, *parts: str) -> str:
    return blake2b("\n".join(parts).encode(), digest_size=size).hexdigest()
