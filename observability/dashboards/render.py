from pathlib import Path
from typing import Final

from observability.dashboards.boards import BOARDS

FOLDER: Final = Path(__file__).parent / "json"
"""Where the committed files are."""


def render_dashboards() -> dict[str, str]:
    """Return the boards' files, by name."""
    return {f"{board.uid}.json": board.text() for board in BOARDS}
