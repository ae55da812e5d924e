"""How a process died under its runs, and what is told of it afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Boolean, Text

from storage.sql import typed

# Where a relay was there first, it has seen nothing but a lease that ended. The error of the attempt is the mark that
# its death is not explained yet, so that it is explained once.
_EXPLAIN = typed(
    """
    WITH unexplained AS (
        SELECT r.tenant, r.run_id, a.attempt, seen.how, seen.own FROM runs r
        JOIN attempts a ON a.tenant = r.tenant AND a.run_id = r.run_id
        JOIN worker_leases l ON l.lease_id = a.lease_id
        JOIN unnest(:workers, :hows, :owns) AS seen(worker, how, own) ON seen.worker = l.worker
        WHERE r.status IN ('queued', 'running') AND r.queue = :cell_queue
          AND l.cell AND a.outcome = 'lost' AND a.error->>'type' = 'Unexplained'
        ORDER BY r.run_id, a.attempt FOR NO KEY UPDATE OF r, a
    ), counted AS (
        UPDATE runs r SET cell_deaths = r.cell_deaths + u.deaths
        FROM (SELECT tenant, run_id, count(*) AS deaths FROM unexplained WHERE own GROUP BY tenant, run_id) u
        WHERE r.tenant = u.tenant AND r.run_id = u.run_id
    )
    UPDATE attempts a SET error = jsonb_build_object('type', 'ProcessDied', 'message', 'its process ' || u.how)
    FROM unexplained u WHERE a.tenant = u.tenant AND a.run_id = u.run_id AND a.attempt = u.attempt
    """,
    cell_queue=Text(),
    workers=ARRAY(Text),
    hows=ARRAY(Text),
    owns=ARRAY(Boolean),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """How a process died, in words that follow "its process …"; ``own``: by what it did itself.

    ``seen`` is False where nobody was there to see it.
    """

    how: str
    own: bool = False
    seen: bool = True


UNSEEN: Final = Death(how="was gone: its lease ended, and nobody saw why", seen=False)


async def explain_deaths(connection: AsyncConnection, deaths: Mapping[str, Death], *, cell_queue: str = "cell") -> int:
    """Tell how the cell's workers died of whom a relay has seen nothing but the end of their lease, by their names.

    What was their own doing is counted against the suspects they had. Each death is told once, however often this is
    called; returns how many were told now.
    """
    if not deaths:
        return 0
    values = {
        "workers": list(deaths),
        "hows": [death.how for death in deaths.values()],
        "owns": [death.own for death in deaths.values()],
        "cell_queue": cell_queue,
    }
    return (await connection.execute(_EXPLAIN, values)).rowcount
