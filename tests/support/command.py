"""The command line as a process of its own, with all that it starts."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.leftovers import left_running, marked
from tests.support.system import ROOT, eventually
from throughline.embedded import free_port


def environment(**settings: str) -> dict[str, str]:
    own = {key: value for key, value in os.environ.items() if not key.startswith(("THROUGHLINE_", "OTEL_"))}
    return own | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | settings


class Command:
    """A command under way, its output in a file."""

    def __init__(self, *arguments: str, output: Path, cwd: Path, **settings: str) -> None:
        marked_environment, self.mark = marked(environment(**settings))
        self.output = output
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "throughline", *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=marked_environment,
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def until(self, text: str, *, timeout: float = 90.0) -> str:
        def there() -> str | None:
            if self.process.poll() is not None and text not in self.said:
                raise AssertionError(f"it ended before it said {text!r}:\n{self.said}")
            return self.said if text in self.said else None

        found = eventually(there, timeout=timeout, what=f"{text!r} in:\n{self.said}")
        assert found is not None
        return found

    def end(self, timeout: float = 120.0) -> int:
        code = self.process.wait(timeout)
        assert eventually(lambda: not left_running(self.mark), timeout=10, what="no process of it left")
        return code


@contextmanager
def command(*arguments: str, output: Path, cwd: Path, **settings: str) -> Iterator[Command]:
    running = Command(*arguments, output=output, cwd=cwd, **settings)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            os.killpg(running.process.pid, signal.SIGTERM)
            running.process.wait(60)


def up_settings(**settings: str) -> dict[str, str]:
    names = ("API_PORT", "FLOWER_PORT", "RELAY_METRICS_PORT", "WORKER_METRICS_PORT")
    return {f"THROUGHLINE_{name}": str(free_port()) for name in names} | settings
