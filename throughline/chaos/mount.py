import os
import shutil
import subprocess
import sys
from pathlib import Path

_FILLER = "filler"
_SIZE = "640m"


class SmallMount:
    """A small file system that PostgreSQL's data can fill; unmounted and gone when it is closed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mounted = False

    def open(self) -> str | None:
        """Mount it; return why that can't be done here, or nothing."""
        mount = shutil.which("mount")
        if sys.platform != "linux" or os.geteuid() != 0 or mount is None:
            return "only root on Linux can mount a small file system"
        self.path.mkdir(parents=True, exist_ok=True)
        command = [mount, "-t", "tmpfs", "-o", f"size={_SIZE},mode=0711", "tmpfs", str(self.path)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - fixed words
        self._mounted = done.returncode == 0
        return None if self._mounted else f"mounting failed: {done.stderr.strip()}"

    def fill(self) -> None:
        """Leave no byte free."""
        chunk = b"\0" * (1 << 20)
        try:
            with (self.path / _FILLER).open("wb", buffering=0) as file:
                while file.write(chunk):
                    pass
        except OSError:
            return

    def free(self) -> None:
        """Give the space back."""
        (self.path / _FILLER).unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        umount = shutil.which("umount")
        if self._mounted and umount is not None:
            self._mounted = False
            subprocess.run([umount, "-l", str(self.path)], check=False, capture_output=True)  # noqa: S603 - fixed words
