import sys
from pathlib import Path


def look_here() -> None:
    """Let modules be found beneath the folder that one is in.

    Processes run as modules, for which Python looks here first; the path of a command that pip made need not hold it.
    """
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)
