from pathlib import Path

from throughline.embedded.cluster import OWNER
from throughline.embedded.folder import DataFolder
from throughline.embedded.postgres import DATABASE
from throughline.errors import FolderUnusable

_PORT_LINE = 3


def running_postgres_url(path: Path) -> str:
    """Return the URL of the PostgreSQL that runs over a data folder, as the folder's own files tell it.

    Raises:
        FolderUnusable: none runs there, or its files can't be read.

    """
    postgres = DataFolder(path).postgres
    try:
        port = (postgres / "cluster" / "postmaster.pid").read_text().splitlines()[_PORT_LINE].strip()
        password = (postgres / "password").read_text().strip()
    except (OSError, IndexError) as error:
        raise FolderUnusable(f"no PostgreSQL of ours runs over {path}: start one with throughline up") from error
    return f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/{DATABASE}"
