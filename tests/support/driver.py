from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection


class Fetching:
    """SQLAlchemy's connection as storage's ingestion asks it, inside the transaction that a test has open."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fetch(self, query: str, *args: Any) -> Sequence[Any]:
        """See ``storage.ingest.Fetches``."""
        result = await self._connection.exec_driver_sql(query, args)
        return result.mappings().all() if result.returns_rows else []
