"""The log levels that somebody asked for, by service, each with an end that PostgreSQL's clock tells."""

from collections.abc import Sequence

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Double, Text

from events import DEFAULT_TENANT
from observability.level_watch import AskedLevel, Service
from settings import LogLevel
from storage.sql import typed

_ASK = typed(
    """
    INSERT INTO log_levels (tenant, service, level, until)
    SELECT :tenant, service, :level, now() + make_interval(secs => :seconds)
    FROM unnest(:services) AS service ORDER BY service
    ON CONFLICT (tenant, service) DO UPDATE SET level = excluded.level, until = excluded.until
    """,
    tenant=Text(),
    level=Text(),
    seconds=Double(),
    services=ARRAY(Text),
)

_WITHDRAW = typed(
    "DELETE FROM log_levels WHERE tenant = :tenant AND service = ANY(:services)",
    tenant=Text(),
    services=ARRAY(Text),
)

_LEVELS = typed(
    """
    SELECT service, level, until, extract(epoch FROM until - now())::float8 AS remaining FROM log_levels
    WHERE tenant = :tenant AND service = ANY(:services) AND until > now()
    """,
    tenant=Text(),
    services=ARRAY(Text),
)


async def ask_level(
    connection: AsyncConnection, services: Sequence[Service], *, level: LogLevel, seconds: float
) -> None:
    """Ask the processes of these services to log from ``level`` on for so many seconds, whatever was asked before."""
    values = {"tenant": DEFAULT_TENANT, "services": list(services), "level": level, "seconds": seconds}
    await connection.execute(_ASK, values)


async def withdraw_levels(connection: AsyncConnection, services: Sequence[Service]) -> None:
    """Let the processes of these services log as their settings say."""
    await connection.execute(_WITHDRAW, {"tenant": DEFAULT_TENANT, "services": list(services)})


async def asked_levels(connection: AsyncConnection, services: Sequence[Service]) -> dict[Service, AskedLevel]:
    """Tell what is asked for now, by service; a service is left out for which nothing is."""
    rows = await connection.execute(_LEVELS, {"tenant": DEFAULT_TENANT, "services": list(services)})
    return {Service(row.service): AskedLevel(level=row.level, until=row.until, left=row.remaining) for row in rows}


async def asked_level(connection: AsyncConnection, service: Service) -> AskedLevel | None:
    """Tell what is asked of the processes of a service now: one read by the primary key."""
    return (await asked_levels(connection, [service])).get(service)
