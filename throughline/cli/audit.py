import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.output import console

if TYPE_CHECKING:
    from storage.audit import Finding


def audit(
    *,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds that what a dead worker left may wait for a relay.")
    ] = 60.0,
    most: Annotated[int, typer.Option(min=1, help="Ids named for each check, at most.")] = 20,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds each check may take.")] = 60.0,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what each check found as JSON.")] = False,
) -> None:
    """Look through the database for states that can't be, in one snapshot, changing nothing; 1 when there are any."""
    from storage.audit import audit as look

    settings = settings_for(data).database
    with reachable(settings, hint=data_hint()):
        findings = asyncio.run(look(settings, grace=grace, most=most, check_timeout=timeout))
    bad = [finding for finding in findings if finding.count]
    if as_json:
        checks = [dataclasses.asdict(finding) for finding in findings]
        typer.echo(json.dumps({"clean": not bad, "checks": checks}, indent=2))
    else:
        _say(findings, bad)
    if bad:
        raise typer.Exit(1)


def _say(findings: "list[Finding]", bad: "list[Finding]") -> None:
    for finding in bad:
        console.print(f"[bold red]{finding.check}[/]  {finding.count} {escape(finding.meaning)}", soft_wrap=True)
        for one in finding.ids:
            console.print(f"  {one}", markup=False, soft_wrap=True)
        if finding.count > len(finding.ids):
            console.print(f"  and {finding.count - len(finding.ids)} more", soft_wrap=True)
    if not bad:
        console.print(f"[green]clean[/]  {len(findings)} checks found nothing")


def register(app: typer.Typer) -> None:
    """Add the command that audits."""
    app.command()(audit)
