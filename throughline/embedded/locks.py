import contextlib
import fcntl
import os
import time
from pathlib import Path

from throughline.errors import FolderInUse, FolderUnusable


class FolderLock:
    """Exclusive use of a folder, by flock on ``<folder>/lock``; the kernel ends it with its process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._file is not None

    def acquire(self, *, wait: float = 0.0) -> None:
        """Take the lock; nothing happens if it is held already.

        Raises:
            FolderInUse: another process holds it, also after ``wait`` seconds; the message names its pid.
            FolderUnusable: the lock file can't be written.

        """
        if self._file is not None:
            return
        try:
            file = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise FolderUnusable(f"{self._folder} can't be used: {error.strerror}") from error
        deadline = time.monotonic() + wait
        while not _try_lock(file):
            if time.monotonic() >= deadline:
                holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(file)
                raise FolderInUse(
                    f"{self._folder} is in use by process {holder}: stop that one first, or choose another folder"
                )
            time.sleep(0.02)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        self._file = file

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _try_lock(file: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
