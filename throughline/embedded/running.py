import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from throughline.embedded.cluster import OWNER
from throughline.embedded.folder import DataFolder
from throughline.embedded.postgres import DATABASE
from throughline.errors import FolderUnusable

_PORT_LINE = 3


def running_postgres_url(path: Path) -> str:
    """Return the URL of the PostgreSQL that runs over a data folder, as the folder's own files tell it.

    Raises:
        FolderUnusable: none runs there, or its files can't be read; says what to do.

    """
    postgres = DataFolder(path).postgres
    try:
        lines = (postgres / "cluster" / "postmaster.pid").read_text().splitlines()
        pid, port = int(lines[0]), int(lines[_PORT_LINE])
        password = (postgres / "password").read_text().strip()
    except (OSError, IndexError, ValueError):
        _refuse(path)
    if not _is_alive(pid):
        _refuse(path)
    return f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/{DATABASE}"


def started_redis_url(path: Path) -> str | None:
    """Return the URL of the Redis that was last started over a data folder; None where none ever was."""
    redis = DataFolder(path).redis
    with suppress(OSError, StopIteration):
        lines = (redis / "redis.conf").read_text().splitlines()
        port = next(line.split()[1] for line in lines if line.startswith("port "))
        password = (redis / "password").read_text().strip()
        return f"redis://:{password}@127.0.0.1:{port}/0"
    return None


def _refuse(path: Path) -> NoReturn:
    if not (DataFolder(path).postgres / "cluster").is_dir():
        raise FolderUnusable(
            f"{path} holds no PostgreSQL of a throughline up: give the folder that it was started with"
        )
    command = shlex.join(["throughline", "up", "--data", str(path)])
    raise FolderUnusable(f"the PostgreSQL of {path} does not run: start it with {command}, and look while it is up")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
