from pathlib import Path
from types import TracebackType
from typing import Final, Self

from throughline.embedded.locks import FolderLock
from throughline.errors import FolderUnusable

DEFAULT_FOLDER = Path(".throughline")

_OURS: Final = frozenset({".gitignore", "bench-scale", "flower-password", "lock", "logs", "postgres", "redis"})


class DataFolder:
    """Where a local stack keeps everything: ``postgres/``, ``redis/`` and ``logs/``; one stack at a time.

    As a context manager it makes the folder, readable by its owner alone, and holds its lock.
    """

    def __init__(self, path: Path = DEFAULT_FOLDER) -> None:
        self.path = path.absolute()
        self._lock = FolderLock(self.path)

    @property
    def postgres(self) -> Path:
        """PostgreSQL's part."""
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        """Redis's part."""
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        """One file for each process: ``logs/<name>.log``."""
        return self.path / "logs"

    def __enter__(self) -> Self:
        """Take the folder.

        Raises:
            FolderInUse: another stack runs over it; the message names its pid.
            FolderUnusable: it can't be made or written, or it holds somebody else's files.

        """
        make_folder(self.path)
        self._require_ours()
        self._lock.acquire()
        make_folder(self.logs)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        return self

    def _require_ours(self) -> None:
        """Refuse a folder with anything else in it: our files would lie among it, and git would ignore all of them."""
        try:
            others = sorted({item.name for item in self.path.iterdir()} - _OURS)
        except OSError as error:
            raise FolderUnusable(f"{self.path} can't be read: {error.strerror}") from error
        if others and not (self.path / "lock").exists():
            raise FolderUnusable(f"{self.path} holds other files ({others[0]}, …); choose a new or an empty folder")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


def make_folder(path: Path) -> None:
    """Make a folder that only its owner can read; a ``FolderUnusable`` that names it when that fails."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FolderUnusable(f"{path} can't be made: {error.strerror}; choose a folder that you can write") from error
