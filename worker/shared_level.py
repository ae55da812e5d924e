import mmap
import struct
import time
from datetime import UTC, datetime
from typing import Final, get_args

from observability.level_watch import AskedLevel
from settings import LogLevel

_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
_FORM: Final = struct.Struct("=Bdd")


class SharedLevel:
    """The log level that a worker's children have found, for their parent, which has no connection to PostgreSQL.

    Made before the fork; parent and children then share its memory. ``tell`` and ``found`` are never out of step for
    longer than to the children's next look.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _FORM.size)

    def tell(self, asked: AskedLevel | None) -> None:
        """Leave what a look has found."""
        values = (0, 0.0, 0.0)
        if asked:
            # The monotonic clock is the machine's, not a process's.
            values = (_LEVELS.index(asked.level), asked.until.timestamp(), time.monotonic() + asked.left)
        _FORM.pack_into(self._memory, 0, *values)

    def found(self) -> AskedLevel | None:
        """Return what was left last; None as well once its time is over."""
        level, until, end = _FORM.unpack_from(self._memory)
        left = end - time.monotonic()
        if left <= 0:
            return None
        return AskedLevel(level=_LEVELS[level], until=datetime.fromtimestamp(until, UTC), left=left)
