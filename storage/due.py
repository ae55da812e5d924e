"""What the relay asks of the runs: which are due, and where they stand on their way to Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Boolean, DateTime, Double, Integer, Text, Uuid

from storage.records import DueRun
from storage.sql import FEW, typed
from storage.taking import TAKE, TAKE_URGENT

# A loose index scan: one probe a queue, however many rows are due.
_QUEUES = typed(
    """
    WITH RECURSIVE queues AS (
        (SELECT queue FROM runs WHERE status = 'queued' ORDER BY queue LIMIT 1)
        UNION ALL
        SELECT (SELECT r.queue FROM runs r WHERE r.status = 'queued' AND r.queue > q.queue ORDER BY r.queue LIMIT 1)
        FROM queues q WHERE q.queue IS NOT NULL
    )
    SELECT queue FROM queues WHERE queue IS NOT NULL
    """
)

_WINDOW = typed(
    """
    SELECT count(*) AS sent, min(published_at) AS oldest, EXISTS (
        SELECT FROM runs
        WHERE status = 'queued' AND published_at IS NOT NULL AND queue = :queue AND publish_at <= now()
    ) AS overdue, (
        SELECT priority FROM runs WHERE status = 'queued' AND queue = :queue AND priority > 0
        ORDER BY queue, priority LIMIT 1
    ) IS NOT NULL AS urgent
    FROM (
        SELECT published_at FROM runs
        WHERE status = 'queued' AND published_at IS NOT NULL AND queue = :queue
        ORDER BY publish_at LIMIT :most
    ) AS sent
    """,
    queue=Text(),
    most=Integer(),
)

_OVERDUE = typed(
    """
    SELECT tenant, run_id, published_at FROM runs
    WHERE status = 'queued' AND published_at IS NOT NULL AND queue = :queue AND publish_at <= now()
    ORDER BY publish_at LIMIT :most
    """,
    queue=Text(),
    most=Integer(),
)

# A locked row is being claimed or kept this moment.
_HURRY = typed(
    """
    WITH sent AS (
        SELECT tenant, run_id FROM runs
        WHERE status = 'queued' AND published_at < :before AND publish_at > now()
        ORDER BY run_id FOR NO KEY UPDATE SKIP LOCKED
    )
    UPDATE runs r SET publish_at = now()
    FROM sent WHERE r.tenant = sent.tenant AND r.run_id = sent.run_id
    """,
    before=DateTime(timezone=True),
)

# The relays take turns at a queue, so that each counts what the one before it has taken. Nobody waits: who finds
# another at it comes back.
_TURN = typed("SELECT pg_try_advisory_xact_lock(hashtextextended('throughline.relay.' || :queue, 0))", queue=Text())

# published_at tells one taking from another: what was taken again since is the other's. The status
# depends on the row, so that the planner does not see that it fits the index of all that is queued.
_KEEP = typed(
    f"""
    WITH kept AS (
        SELECT r.tenant, r.run_id FROM runs r
        JOIN unnest(:tenants, :run_ids, :ats) WITH ORDINALITY AS k(tenant, run_id, published_at, place)
            USING (tenant, run_id, published_at)
        WHERE {FEW} AND (:overdue OR r.publish_at > now()) AND (r.status = 'queued') = (k.place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r SKIP LOCKED
    )
    UPDATE runs r SET publish_at = now() + make_interval(secs => :seconds)
    FROM kept WHERE r.tenant = kept.tenant AND r.run_id = kept.run_id
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    ats=ARRAY(DateTime(timezone=True)),
    seconds=Double(),
    overdue=Boolean(),
)

_PUT_BACK = typed(
    f"""
    WITH back AS (
        SELECT r.tenant, r.run_id FROM runs r
        JOIN unnest(:tenants, :run_ids, :ats) WITH ORDINALITY AS k(tenant, run_id, published_at, place)
            USING (tenant, run_id, published_at)
        WHERE {FEW} AND (r.status = 'queued') = (k.place > 0)
        ORDER BY r.run_id FOR NO KEY UPDATE OF r
    )
    UPDATE runs r SET publish_at = now() + make_interval(secs => :seconds), published_at = NULL
    FROM back WHERE r.tenant = back.tenant AND r.run_id = back.run_id
    """,  # noqa: S608 - made of this package's own text; values are parameters
    tenants=ARRAY(Text),
    run_ids=ARRAY(Uuid),
    ats=ARRAY(DateTime(timezone=True)),
    seconds=Double(),
)

# It waits for locked rows: who held one may have put the run off by a minute, though its message is lost.
_REPUBLISH = text(
    """
    WITH sent AS (
        SELECT tenant, run_id FROM runs
        WHERE status = 'queued' AND published_at IS NOT NULL AND published_at < now() AND publish_at > now()
        ORDER BY run_id FOR NO KEY UPDATE
    )
    UPDATE runs r SET publish_at = now()
    FROM sent WHERE r.tenant = sent.tenant AND r.run_id = sent.run_id
    """
)

_NEXT = typed(
    """
    SELECT extract(epoch FROM min(publish_at) - clock_timestamp())::float8 AS seconds FROM (
        SELECT (
            SELECT r.publish_at FROM runs r
            WHERE r.status = 'queued' AND r.queue = q.queue AND r.publish_at < 'infinity'
            ORDER BY r.publish_at LIMIT 1
        ) AS publish_at
        FROM unnest(:queues) AS q(queue)
    ) AS heads
    """,
    queues=ARRAY(Text),
)

RunKey = tuple[str, UUID]
"""``(tenant, run_id)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Runs that a relay has taken; ``at`` (the database's clock) tells this taking from any other of the same runs."""

    at: datetime
    keys: tuple[RunKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many of a queue's runs are sent and unclaimed, and whether some of them were too long ago (``overdue``).

    ``urgent``: some of its queued runs have a priority.

    Those count until they are put back: another relay may be looking for them, and find them in Redis. What was taken
    before ``oldest``, and was not kept since, is claimed.
    """

    sent: int
    overdue: bool
    oldest: datetime | None
    urgent: bool = False


async def queues_with_work(connection: AsyncConnection) -> list[str]:
    """Name the queues that have queued runs, due or not."""
    return [row.queue for row in await connection.execute(_QUEUES)]


async def window_of(connection: AsyncConnection, queue: str, *, most: int) -> Window:
    """Tell how much of ``queue`` is thought to be in Redis; counts up to ``most``."""
    row = (await connection.execute(_WINDOW, {"queue": queue, "most": most})).one()
    return Window(sent=row.sent, overdue=row.overdue, oldest=row.oldest, urgent=row.urgent)


async def overdue_runs(connection: AsyncConnection, queue: str, *, most: int) -> list[Taken]:
    """Find runs that were taken for publishing, and that nobody claimed or kept in time."""
    found: dict[datetime, list[RunKey]] = {}
    for row in await connection.execute(_OVERDUE, {"queue": queue, "most": most}):
        found.setdefault(row.published_at, []).append((row.tenant, row.run_id))
    return [Taken(at=at, keys=tuple(keys)) for at, keys in found.items()]


async def hurry_published(connection: AsyncConnection, *, before: datetime) -> int:
    """Make all that was published ``before`` and not claimed overdue; return how many runs that were."""
    return (await connection.execute(_HURRY, {"before": before})).rowcount


async def take_turn(connection: AsyncConnection, queue: str) -> bool:
    """Say whether this transaction may take from ``queue``; False while another relay's does."""
    return bool((await connection.execute(_TURN, {"queue": queue})).scalar_one())


async def take_due(
    connection: AsyncConnection, queue: str, *, most: int, lease: float, urgent: bool = False
) -> tuple[Taken, list[DueRun]]:
    """Take up to ``most`` due runs for publishing; no relay sees them for ``lease`` seconds.

    The oldest are taken or, where some are ``urgent``, those of the highest priority and of equal ones the oldest. They
    come by priority, and then in the order of their ids, which is the order they were made in.
    """
    asked = {"queue": queue, "most": most, "lease": lease}
    rows = list(await connection.execute(TAKE_URGENT, asked)) if urgent else []
    if len(rows) < most:
        rows += await connection.execute(TAKE, asked | {"most": most - len(rows)})
    runs = [
        DueRun(
            tenant=row.tenant,
            run_id=row.run_id,
            pipeline=row.pipeline,
            queue=row.queue,
            traceparent=row.traceparent,
            priority=row.priority,
        )
        for row in sorted(rows, key=lambda row: (-row.priority, row.run_id))
    ]
    at = rows[0].published_at if rows else datetime.min.replace(tzinfo=UTC)
    return Taken(at=at, keys=tuple((run.tenant, run.run_id) for run in runs)), runs


async def keep_published(
    connection: AsyncConnection, taken: Sequence[Taken], *, seconds: float, overdue: bool = False
) -> int:
    """Look at runs that were sent, and not claimed yet, again in ``seconds``; return how many that were.

    What is overdue is passed over unless ``overdue``: who says so has looked for it in Redis.
    """
    return (await connection.execute(_KEEP, {**_keyed(taken, seconds), "overdue": overdue})).rowcount


async def put_back(connection: AsyncConnection, taken: Sequence[Taken], *, seconds: float) -> None:
    """Make taken runs that were surely not sent due for publishing ``seconds`` from now."""
    await connection.execute(_PUT_BACK, _keyed(taken, seconds))


async def republish_window(connection: AsyncConnection) -> int:
    """Make everything that was published and not claimed overdue; return how many runs that were."""
    return (await connection.execute(_REPUBLISH)).rowcount


async def seconds_to_next(connection: AsyncConnection, queues: Sequence[str]) -> float | None:
    """Tell in how many seconds something is to be published; negative when it is late, None without any."""
    value: float | None = (await connection.execute(_NEXT, {"queues": list(queues)})).scalar_one()
    return value


def _keyed(taken: Sequence[Taken], seconds: float) -> dict[str, object]:
    return {
        "tenants": [tenant for one in taken for tenant, _ in one.keys],
        "run_ids": [run_id for one in taken for _, run_id in one.keys],
        "ats": [one.at for one in taken for _ in one.keys],
        "seconds": seconds,
    }
