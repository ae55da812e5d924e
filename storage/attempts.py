"""What the earlier attempts of runs came to."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text, Uuid

from storage.sql import typed

_ERRORS = typed(
    """
    SELECT a.run_id, failed.node, count(*) AS errors
    FROM attempts a CROSS JOIN LATERAL jsonb_array_elements_text(
        coalesce(a.error -> 'nodes', jsonb_build_array(a.error -> 'node'))
    ) AS failed(node)
    WHERE a.tenant = :tenant AND a.run_id = ANY(:run_ids) AND a.outcome = 'retried'
    GROUP BY a.run_id, failed.node
    """,
    tenant=Text(),
    run_ids=ARRAY(Uuid),
)


async def errors_by_node(
    connection: AsyncConnection, *, tenant: str, run_ids: Sequence[UUID]
) -> dict[UUID, dict[str | None, int]]:
    """Count the attempts that ended in an error and were followed by another, by run and node; None: from no node.

    One in which several nodes failed side by side counts for each of them.
    """
    found: dict[UUID, dict[str | None, int]] = {}
    for row in await connection.execute(_ERRORS, {"tenant": tenant, "run_ids": list(run_ids)}):
        found.setdefault(row.run_id, {})[row.node] = row.errors
    return found
