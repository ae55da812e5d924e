from collections.abc import Callable, Collection
from pathlib import Path

from throughline.local.watching import Watch
from throughline.supervision import ProcessService


class Reloader:
    """Restarts what runs pipelines when their source has changed, once a process of its own could import it.

    What can't be imported changes nothing: what runs goes on as it was, until the source has changed again.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        check: ProcessService,
        restart: Callable[[], Collection[str]],
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        """Begin with what has changed since ``watch`` was made.

        Args:
            watch: looks at the source of the pipelines.
            check: a process that ends with 0 if they can be imported, and else with lines that say why they can't.
            restart: restarts what runs pipelines, and returns the names.
            say: tells the user of a restart.
            warn: tells the user of what can't be imported.

        """
        self._watch = watch
        self._check, self._restart, self._say, self._warn = check, restart, say, warn
        self._changed: dict[Path, None] = {}
        self._checking = False

    def step(self) -> None:
        """Do what is due, without waiting; to be called a few times a second.

        Files that change together are taken together: the check begins when nothing more has changed since the last
        step.
        """
        if changed := self._watch.changed():
            self._changed.update(dict.fromkeys(changed))
            self.stop()
        elif self._changed and not self._checking:
            self._check.launch()
            self._checking = True
        elif self._checking and (code := self._check.exit_code()) is not None:
            self._checking = False
            named = ", ".join(map(_short, self._changed))
            self._changed.clear()
            self._act(named, good=code == 0)

    def stop(self) -> None:
        """End a check that is under way."""
        if self._checking:
            self._check.kill()
            self._checking = False

    def _act(self, named: str, *, good: bool) -> None:
        if good:
            self._say(f"{named} changed: restarting {', '.join(self._restart())}")
            return
        lines = [line for line in self._check.process.log.tail() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
        for line in errors:
            self._warn(f"{named} changed, what runs goes on as it was: {line.removeprefix('error: ')}")


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
