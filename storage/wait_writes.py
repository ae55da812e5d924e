"""The waits that tries begin: the part of a finish that is there only where one does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Double, Integer, Text, TypeEngine, Uuid

from events import AwaitedEvent

_LONGEST_KEY: Final = 255
"""As of the keys of events."""

# A wait that is there already goes on, and is looked at again: an event may have come while its run was claimed.
BEGIN_WAITS: Final = """, waited AS (
        INSERT INTO waits (tenant, run_id, node, type, path, key, until)
        SELECT w.tenant, w.run_id, w.node, w.type, w.path, w.key, now() + make_interval(secs => w.seconds)
        FROM unnest(:w_tenants, :w_run_ids, :w_attempts, :w_nodes, :w_types, :w_paths, :w_keys, :w_seconds)
            AS w(tenant, run_id, attempt, node, type, path, key, seconds)
        JOIN ended ON ended.tenant = w.tenant AND ended.run_id = w.run_id AND ended.attempt = w.attempt
        WHERE ended.status = 'queued'
        ON CONFLICT (tenant, run_id, node) DO UPDATE SET probed = false WHERE waits.ended_at IS NULL
    )"""

WAIT_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "w_tenants": ARRAY(Text),
    "w_run_ids": ARRAY(Uuid),
    "w_attempts": ARRAY(Integer),
    "w_nodes": ARRAY(Text),
    "w_types": ARRAY(Text),
    "w_paths": ARRAY(Text),
    "w_keys": ARRAY(Text),
    "w_seconds": ARRAY(Double),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitWrite:
    """A wait of a run that begins at ``node``, for ``seconds`` at most.

    It is for the ``awaited`` event or, without one, for the time alone.
    """

    tenant: str
    run_id: UUID
    attempt: int
    node: str
    seconds: float
    awaited: AwaitedEvent | None = None


def wait_columns(waits: Sequence[WaitWrite]) -> dict[str, list[Any]]:
    """Return the parameters of ``BEGIN_WAITS``."""
    awaited = [wait.awaited for wait in waits]
    return {
        "w_tenants": [wait.tenant for wait in waits],
        "w_run_ids": [wait.run_id for wait in waits],
        "w_attempts": [wait.attempt for wait in waits],
        "w_nodes": [wait.node for wait in waits],
        "w_types": [one.type if one else None for one in awaited],
        "w_paths": [one.path if one else None for one in awaited],
        "w_keys": [one.key[:_LONGEST_KEY] if one else None for one in awaited],
        "w_seconds": [wait.seconds for wait in waits],
    }
