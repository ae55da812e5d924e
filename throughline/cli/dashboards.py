from pathlib import Path
from typing import Annotated

import typer


def dashboards(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; without it, the files of this checkout.")
    ] = None,
) -> None:
    """Write Grafana's boards as JSON files."""
    from observability.dashboards import FOLDER, render_dashboards

    folder = out or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render_dashboards().items():
        (folder / name).write_text(text, encoding="utf-8")
        typer.echo(folder / name)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dashboards)
