import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from events import DEFAULT_TENANT, ConfigurationError
from settings import DatabaseSettings
from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.files import write_files
from throughline.cli.output import errors, plain

if TYPE_CHECKING:
    from storage.past_runs import PastRun


def export(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="The run's id, or its beginning.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to, such as tests/test_order_7.py; or it is printed."
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Write a run that has ended as a pytest file that replays it with nothing started.

    Nodes with effects, and those that failed, answer as they did; the others are called. Read from the database alone.
    """
    from observability import logs
    from pipelines import PipelineRegistry
    from throughline.export import export_run

    settings = settings_for(data)
    logs.configure_logging(settings.log, service="export")
    registry = PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    with reachable(settings.database, hint=data_hint()):
        past = asyncio.run(_read(settings.database, wanted))
    exported = export_run(past, registry, beside=None if output is None else f"{output.stem}.json")
    if output is None:
        typer.echo(exported.text, nl=False)
    else:
        files = {output.name: exported.text} | ({f"{output.stem}.json": exported.data} if exported.data else {})
        for path in write_files(output.parent, files):
            typer.echo(path)
    if exported.left_out:
        errors.print(f"left out, as from log lines: {escape(', '.join(map(plain, exported.left_out)))}", soft_wrap=True)


async def _read(settings: DatabaseSettings, wanted: str) -> "PastRun":
    """Read the run whose id begins like that.

    Raises:
        ConfigurationError: there is none, or more than one.

    """
    from storage.finding import IdPrefix
    from storage.past_reader import PastReader

    prefix = IdPrefix.parse(wanted)
    if prefix is None:
        raise ConfigurationError(f"{plain(wanted)!r} is no id of a run, nor the beginning of one")
    async with PastReader(settings, tenant=DEFAULT_TENANT, application="export") as reader:
        found = [one for one in await reader.find(prefix) if one.kind == "run"]
        if len(found) > 1:
            raise ConfigurationError(
                f"more than one run begins with {wanted}: {', '.join(str(one.id) for one in found)}"
            )
        past = await reader.read([one.id for one in found])
    if not past:
        raise ConfigurationError(f"no run has the id {wanted}")
    return past[0]
