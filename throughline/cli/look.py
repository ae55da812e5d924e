import json
from collections.abc import Iterable
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from settings import SettingReference, load_settings, setting_references
from throughline.cli.database import Data, data_hint, settings_for
from throughline.cli.output import console

pipelines = typer.Typer(help="The pipelines that events go to.", no_args_is_help=True)

_STYLE = {"ok": "green", "warning": "yellow", "bad": "bold red"}


@pipelines.command("list")
def list_pipelines(*, data: Data = None) -> None:
    """List the pipelines' versions, with the event types they take, their nodes and, by PostgreSQL, their open runs."""
    from throughline.cli.pipeline_list import show_pipelines

    show_pipelines(settings_for(data))


def settings(
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference as it stands in docs/.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print variables and values as JSON.")] = False,
) -> None:
    """List every setting with its variable, value and meaning; secrets are masked."""
    references = list(setting_references(load_settings()))
    if markdown:
        typer.echo(settings_markdown(), nl=False)
    elif as_json:
        typer.echo(json.dumps({reference.variable: reference.value for reference in references}, indent=2))
    else:
        _print_settings(references)


def _print_settings(references: Iterable[SettingReference]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("variable", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("what it does")
    for reference in references:
        changed = reference.value != reference.default
        value = f"[bold]{escape(reference.value)}[/bold]" if changed else escape(reference.value)
        table.add_row(reference.variable, value, escape(reference.description))
    console.print(table)


def settings_markdown() -> str:
    """Return docs/configuration.md."""
    lines = [
        "# Configuration",
        "",
        "Every setting is an environment variable, read once when a process starts; `throughline settings` lists",
        "them with their present values. A value that is wrong, or a `THROUGHLINE_` variable that is none of these,",
        "ends the process with one line that names it.",
    ]
    group = None
    for reference in setting_references():
        if reference.group != group:
            group = reference.group
            lines += ["", f"## {group}", "", "| variable | type | default | what it does |", "|---|---|---|---|"]
        cells = (
            f"`{reference.variable}`",
            f"`{reference.type}`",
            f"`{reference.default}`" if reference.default else "",
        )
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in (*cells, reference.description)) + " |")
    return "\n".join(lines) + "\n"


def doctor(*, data: Data = None) -> None:
    """Look at what the processes need: a verdict a line, and what to do about it; 1 when something is bad."""
    from throughline.doctor import Verdict, examine

    worst = 0
    table = Table("", "what", "found", "what to do", box=None, pad_edge=False)
    for finding in examine(settings_for(data)):
        worst = max(worst, int(finding.verdict is Verdict.BAD))
        verdict = f"[{_STYLE[finding.verdict]}]{finding.verdict}[/]"
        table.add_row(verdict, finding.subject, escape(finding.said), escape(finding.mend))
    console.print(table)
    if worst:
        if data is None and (hint := data_hint()):
            console.print(hint, markup=False, soft_wrap=True)
        raise typer.Exit(worst)


def register(app: typer.Typer) -> None:
    """Add the commands that look."""
    app.command()(settings)
    app.command()(doctor)
