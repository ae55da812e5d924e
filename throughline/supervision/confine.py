import functools
import shutil
import subprocess
import sys
import threading
from signal import Signals


def dying_with_us(argv: tuple[str, ...], signal: Signals) -> tuple[str, ...]:
    """Return ``argv`` behind ``setpriv --pdeathsig``, so that the kernel ends it when we are killed.

    The second net below the guard, for when both are killed at once. Only from the main thread: the kernel minds the
    thread that started the child, and another thread may end long before the process. Where setpriv can't do it the
    guard is alone.
    """
    setpriv = _setpriv_with_death_signal()
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return argv
    return (setpriv, "--pdeathsig", signal.name.removeprefix("SIG"), *argv)


@functools.cache
def _setpriv_with_death_signal() -> str | None:
    """Return where setpriv is; busybox's and util-linux's before 2.33 don't know the option."""
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        return None
    probe = subprocess.run(  # noqa: S603 - a fixed command
        [setpriv, "--pdeathsig", "KILL", setpriv, "--version"], check=False, capture_output=True
    )
    return setpriv if probe.returncode == 0 else None
