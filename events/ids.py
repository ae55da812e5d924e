from datetime import datetime
from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): sorts by the millisecond it was made in."""
    return uuid7()


def least_id(moment: datetime) -> UUID:
    """Return the least UUIDv7 that could be made at ``moment`` or later."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)
