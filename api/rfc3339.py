import re
from datetime import UTC, datetime

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_MESSAGE = "must be an RFC 3339 time with a zone, such as 2026-11-23T08:30:00Z"


def parse_time(value: object) -> datetime:
    """Read an RFC 3339 time as UTC; digits beyond microseconds are cut.

    Raises:
        ValueError: it is none, has no zone, or is not within the years 1 to 9999 in UTC. The value is not quoted.

    """
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError(_MESSAGE)
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(_MESSAGE) from None
