from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID  # noqa: N811 - one of two
from uuid_utils import uuid7


def new_id() -> UUID:
    """Return what ``events.new_id`` does, as the driver's own kind: made, shown and sent for a quarter of the cost."""
    made: UUID = DriverUUID(uuid7().bytes)
    return made
