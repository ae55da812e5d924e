from pathlib import Path
from typing import Annotated

import typer

from throughline.cli.files import write_files


def dashboards(
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where to; without it, the files of this checkout.")
    ] = None,
) -> None:
    """Write Grafana's boards as JSON files."""
    from observability.dashboards import FOLDER, render_dashboards

    for path in write_files(out or FOLDER, render_dashboards()):
        typer.echo(path)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(dashboards)
