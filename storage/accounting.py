"""The account of runs: what came in, what ended and what was removed, kept apart from the tables that it checks.

Whatever makes, ends or removes runs adds a row to ``run_deltas`` in its own statement. A run that is lost or ended
twice then shows as a difference that nothing else can hide.
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Integer

from storage.sql import typed

# One statement: a reader's snapshot has either the rows or their sum. Rows that another relay folds are passed over.
_FOLD = typed(
    """
    WITH taken AS (
        SELECT tenant, delta_id FROM run_deltas ORDER BY tenant, delta_id LIMIT :most FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM run_deltas d USING taken WHERE d.tenant = taken.tenant AND d.delta_id = taken.delta_id
        RETURNING d.tenant, d.accepted, d.final, d.removed
    ), summed AS (
        INSERT INTO run_deltas (tenant, accepted, final, removed)
        SELECT tenant, sum(accepted), sum(final), sum(removed) FROM gone GROUP BY tenant
    )
    SELECT count(*) FROM gone
    """,
    most=Integer(),
)

_BALANCE = typed(
    """
    SELECT d.accepted, d.final, d.removed,
           (SELECT count(*) FROM runs WHERE status = 'queued') + (SELECT count(*) FROM runs WHERE status = 'running')
               AS open
    FROM (
        SELECT coalesce(sum(accepted), 0)::bigint AS accepted, coalesce(sum(final), 0)::bigint AS final,
               coalesce(sum(removed), 0)::bigint AS removed
        FROM run_deltas
    ) AS d
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """The account in one snapshot. ``removed`` runs were final before, and ``final`` still has them."""

    accepted: int
    final: int
    open: int
    removed: int

    @property
    def difference(self) -> int:
        """Runs that were accepted and are neither final nor open; anything but 0 is a fault."""
        return self.accepted - self.final - self.open


async def fold_deltas(connection: AsyncConnection, *, most: int) -> int:
    """Put up to ``most`` rows of the account into one a tenant; return how many rows that were."""
    return int((await connection.execute(_FOLD, {"most": most})).scalar_one())


async def balance(connection: AsyncConnection) -> Balance:
    """Read the account of all tenants; one statement, hence one snapshot."""
    return Balance(**(await connection.execute(_BALANCE)).one()._asdict())
