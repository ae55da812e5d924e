import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from throughline.errors import StackError

_NOBODY = 65534
_KEEP_REACH = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a server runs as: a prefix for its commands, and the owner that its folder must have (None: us)."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def own(self, *paths: Path) -> None:
        """Give the paths to the account."""
        if self.uid is not None:
            for path in paths:
                os.chown(path, self.uid, self.uid)


def ordinary_account(program: Path, *, data: Path) -> Account:
    """Return an account that ``program`` can run as, though it refuses to run as root.

    That is us, unless we are root. Then it is the owner of the existing ``data``, or nobody (uid 65534), through
    setpriv; with the right to pass folders that only root may enter, such as a virtual environment below /root, where
    the system grants it.

    Raises:
        StackError: we are root and can't become anybody else.

    """
    if os.geteuid() != 0:
        return Account()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise StackError(
            "PostgreSQL refuses to run as root and setpriv isn't there to change that: run this as an ordinary user, "
            "or install util-linux"
        )
    uid = (data.stat().st_uid if data.exists() else 0) or _NOBODY
    base = (setpriv, f"--reuid={uid}", f"--regid={uid}", "--clear-groups")
    said = ""
    for prefix in ((*base, *_KEEP_REACH), base):
        probe = subprocess.run(  # noqa: S603 - the server's own program
            [*prefix, str(program), "--version"], check=False, capture_output=True, text=True, cwd="/"
        )
        if probe.returncode == 0:
            return Account(prefix=prefix, uid=uid)
        said = probe.stderr.strip()
    raise StackError(f"PostgreSQL can't be run as uid {uid} ({said}): run this as an ordinary user")
