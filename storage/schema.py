from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

SCHEMA_REVISION = "0006"
"""The newest migration that this release's code needs. Revisions are numbered, so that they compare as text."""


async def schema_is_ready(connection: AsyncConnection) -> bool:
    """Say whether the schema is this release's or a newer one's (newer ones keep what older code needs)."""
    found = (await connection.execute(text("SELECT to_regclass('alembic_version')"))).scalar_one()
    if found is None:
        return False
    revision = (await connection.execute(text("SELECT max(version_num) FROM alembic_version"))).scalar_one()
    return revision is not None and str(revision) >= SCHEMA_REVISION
