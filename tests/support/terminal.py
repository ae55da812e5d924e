"""A command at a terminal of its own, as a person has it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Terminal:
    """What a command shows, and the keys that are pressed; ``attributes`` are the terminal's settings."""

    def __init__(self, master: int, slave: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = ""
        self._master, self._slave = master, slave

    @property
    def attributes(self) -> list[object]:
        """The terminal's settings, as whoever uses it next finds them."""
        return list(termios.tcgetattr(self._slave))

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def until(self, is_there: Callable[[str], bool], *, timeout: float = 30.0) -> str:
        """Wait until what was shown since the last call holds something; return it."""
        deadline = time.monotonic() + timeout
        since = len(self.shown)
        while not is_there(self.shown[since:]):
            self._read(deadline)
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout:g} s; it shows {self.shown[since:]!r}")
        return self.shown[since:]

    def end(self, *, timeout: float = 20.0) -> int:
        """Wait for the command's end, reading on; return its exit code."""
        deadline = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(time.monotonic() + 0.1)
        self._read(time.monotonic() + 0.1)
        return self.process.wait(0.1)

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0.0))
        if ready:
            self.shown += os.read(self._master, 65536).decode(errors="replace")


@contextmanager
def terminal(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path, columns: int = 80, rows: int = 24
) -> Iterator[Terminal]:
    """Start a command at a terminal of that size; it is killed if it is still there at the end."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one call, which takes no lock
    )
    try:
        yield Terminal(master, slave, process)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)
        os.close(master)
        os.close(slave)
