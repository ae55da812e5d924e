from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_FACTS = text(
    """
    SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS version_number,
           current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('max_connections')::int AS max_connections,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
           extract(epoch FROM clock_timestamp())::float8 AS clock
    """
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerFacts:
    """What PostgreSQL says of itself; ``clock`` is its time in seconds since 1970."""

    version: str
    version_number: int
    encoding: str
    fsync: str
    synchronous_commit: str
    full_page_writes: str
    max_connections: int
    connections: int
    clock: float


async def server_facts(connection: AsyncConnection) -> ServerFacts:
    """Ask PostgreSQL for what the guarantees rest on."""
    return ServerFacts(**(await connection.execute(_FACTS)).one()._asdict())
