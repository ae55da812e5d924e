"""What PostgreSQL says of everything, in the model's words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double

from storage import accounting
from storage.impossible import CHECKS
from storage.sql import typed
from tests.support.life.operations import Takings
from tests.support.life.state import Lease, Run, State

_RUNS = text(
    """
    SELECT r.run_id, e.ce_id AS event, r.queue, r.status, r.reason, r.attempt, r.errors, r.deaths, r.cell_deaths,
           r.home_queue AS home, r.available_at <= now() AS due, r.publish_at <= now() AS publishable, r.published_at,
           r.lease_id AS lease, r.cancel_reason AS cancel, r.failure_kind AS kind, r.error ->> 'type' AS error,
           r.replay_of, coalesce(r.finished_at < now() - interval '35 days', false) AS old, r::text AS row,
           ARRAY(SELECT a.outcome FROM attempts a WHERE a.run_id = r.run_id ORDER BY a.attempt) AS outcomes,
           ARRAY(SELECT a::text FROM attempts a WHERE a.run_id = r.run_id ORDER BY a.attempt) AS attempt_rows,
           (SELECT coalesce(jsonb_object_agg(n.node, jsonb_build_array(n.status, n.attempt, n.output)), '{}')
            FROM node_results n WHERE n.run_id = r.run_id)::text AS nodes,
           (SELECT coalesce(jsonb_object_agg(n.node, n::text), '{}')
            FROM node_results n WHERE n.run_id = r.run_id AND n.status = 'succeeded')::text AS done
    FROM runs r JOIN events e USING (tenant, event_id)
    """
)
_LEASES = text(
    """
    SELECT lease_id, cell, CASE WHEN ended_at IS NOT NULL THEN 'ended' WHEN expires_at < now() THEN 'expired'
                                ELSE 'live' END AS stands
    FROM worker_leases
    """
)
_EVENTS = text("SELECT ce_id, event_id FROM events")
_GRACE = 3600.0
_IMPOSSIBLE = typed(
    " UNION ALL ".join(
        f"SELECT '{check.name}' AS name, id::text AS id FROM ({check.sql}) AS found" for check in CHECKS
    ),
    grace=Double(),
)


@dataclass(frozen=True, slots=True)
class Rows:
    """A run's rows to the letter: itself with its attempts, and the results of its nodes that are done."""

    run: str
    done: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """The state as the model tells it, and the rows themselves."""

    state: State
    rows: Mapping[UUID, Rows]


async def look(connection: AsyncConnection, takings: Takings) -> Look:
    """Read everything."""
    named = {taken.at: name for name, taken in takings.items()}
    rows = (await connection.execute(_RUNS)).all()
    state = State(
        runs={row.run_id: _run(row, named) for row in rows},
        leases={row.lease_id: Lease(row.cell, row.stands) for row in await connection.execute(_LEASES)},
        events={row.ce_id: row.event_id for row in await connection.execute(_EVENTS)},
    )
    return Look(state, {row.run_id: Rows(f"{row.row} {row.attempt_rows}", json.loads(row.done)) for row in rows})


async def faults(connection: AsyncConnection) -> list[str]:
    """What the audit's checks find, and a difference of the account."""
    found = [f"{row.name}: {row.id}" for row in await connection.execute(_IMPOSSIBLE, {"grace": _GRACE})]
    balance = await accounting.balance(connection)
    return found if balance.difference == 0 else [*found, f"the account differs: {balance}"]


async def change(connection: AsyncConnection, statement: str | TextClause, **values: object) -> None:
    """Let time pass, by moving what it is told by."""
    await connection.execute(text(statement) if isinstance(statement, str) else statement, values)


def _run(row: Any, named: Mapping[datetime, str]) -> Run:
    same = {
        name: getattr(row, name) for name in Run.__dataclass_fields__ if name not in {"published", "outcomes", "nodes"}
    }
    return Run(
        **same,
        published=None if row.published_at is None else named.get(row.published_at, "unknown"),
        outcomes=dict(enumerate(row.outcomes, start=1)),
        nodes={name: tuple(node) for name, node in json.loads(row.nodes).items()},
    )
