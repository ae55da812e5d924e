from collections.abc import Mapping
from pathlib import Path

from throughline.errors import FolderUnusable


def write_files(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """Write texts by their names into a folder, which is made; return their paths.

    Raises:
        FolderUnusable: it can't be made or written.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise FolderUnusable(
            f"{error.filename or folder} can't be written: {error.strerror}; choose a folder that you can write"
        ) from error
    return [folder / name for name in files]
