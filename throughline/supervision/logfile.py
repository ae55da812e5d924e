import os
import shutil
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 16_384


class LogFile:
    """What one process writes to stdout and stderr, appended over restarts.

    The process holds the file itself, not a pipe of ours: it never blocks on us and goes on writing when we die.
    """

    def __init__(self, path: Path, *, max_bytes: int = 50_000_000) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._start = 0

    def open(self) -> BinaryIO:
        """Open for one launch; ``tail`` then tells only what this launch wrote."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.limit()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._start = os.fstat(descriptor).st_size
        return os.fdopen(descriptor, "ab", buffering=0)

    def tail(self, lines: int = 15) -> list[str]:
        """Return the last lines that were written since ``open``."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                start = self._start if self._start <= size else 0
                file.seek(max(start, size - _TAIL_BYTES))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.splitlines()[-lines:]

    def limit(self) -> None:
        """Move what has grown too large to ``<name>.1`` and go on in an empty file.

        The writer appends through its own descriptor, so the file is copied and truncated, not renamed; lines written
        in between are lost.
        """
        if self.path.exists() and self.path.stat().st_size > self._max_bytes:
            shutil.copyfile(self.path, self.path.with_name(self.path.name + ".1"))
            os.truncate(self.path, 0)
