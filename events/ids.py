from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562): sorts by the millisecond it was made in."""
    return uuid7()
