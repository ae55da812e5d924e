import importlib.util
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.discovery import BUILTIN


class Watch:
    """Tells which source files of some modules have changed, come or gone since it was made, or asked before.

    To those of a module belong the ones beside it, of the same package, that have been imported when it is made.
    It looks at the files' times and sizes: a handful of calls, whatever the file system.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._places = {place for module in modules for place in (*_places(module), *_beside(module))}
        self._seen = self._look()

    def changed(self) -> list[Path]:
        """Return them, by name."""
        before, self._seen = self._seen, self._look()
        return sorted(path for path in before.keys() | self._seen.keys() if before.get(path) != self._seen.get(path))

    def _look(self) -> dict[Path, tuple[int, int]]:
        seen: dict[Path, tuple[int, int]] = {}
        for place in self._places:
            for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                try:
                    found = path.stat()
                except FileNotFoundError:
                    continue
                seen[path] = (found.st_mtime_ns, found.st_size)
        return seen


def _beside(module: str) -> Iterator[Path]:
    """Yield the files of what has been imported from a module's package; the engine's own is none of the user's."""
    package = module.partition(".")[0]
    if module == BUILTIN:
        return
    for name, loaded in tuple(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if file and name.startswith(f"{package}."):
            yield Path(file)


def _places(module: str) -> Iterator[Path]:
    """Yield the folders of a package, or the file of a module."""
    found = importlib.util.find_spec(module)
    if found is None:
        return
    if found.submodule_search_locations:
        yield from map(Path, found.submodule_search_locations)
    elif found.origin:
        yield Path(found.origin)
