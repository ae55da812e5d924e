import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table

from settings import DatabaseSettings, Settings
from throughline.cli.database import first_line
from throughline.cli.output import console

if TYPE_CHECKING:
    from pipelines import Pipeline, PipelineRegistry

_WITHIN: Final = 3.0

OpenRuns = Mapping[tuple[str, int], int]
"""How many runs have not ended, by pipeline and version."""


def show_pipelines(settings: Settings) -> None:
    """Print all versions of all pipelines, the newest first, with how many runs are open in each.

    Versions that have open runs, and that this code lacks, are told, too. Where PostgreSQL doesn't answer within three
    seconds, the runs are left out.
    """
    from pipelines import PipelineRegistry
    from storage.engine import DatabaseUnavailable

    registry = PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    try:
        found = asyncio.run(_open_runs(settings.database))
    except DatabaseUnavailable as error:
        console.print(_table(registry, None))
        said = first_line(error.__cause__ or error)
        console.print(f"open runs are not counted: PostgreSQL: {said}", style="dim", markup=False, soft_wrap=True)
    else:
        console.print(_table(registry, found))


async def _open_runs(settings: DatabaseSettings) -> OpenRuns:
    from storage.engine import create_engine
    from storage.snapshots import snapshot
    from storage.versions import open_runs

    engine = create_engine(settings, application="pipelines", pool_size=1)
    try:
        async with snapshot(engine, within=_WITHIN) as connection:
            return await open_runs(connection)
    finally:
        await engine.dispose()


def _table(registry: "PipelineRegistry", found: OpenRuns | None) -> Table:
    columns = ["pipeline", "version", "event types", "queue", "nodes"]
    table = Table(*columns, *(["open runs"] if found is not None else []), box=None, pad_edge=False)
    known = {(pipeline.name, pipeline.version): pipeline for pipeline in registry.every}
    keys = {*known, *(key for key in found or {} if key not in known)}
    for name, version in sorted(keys, key=lambda key: (key[0], -key[1])):
        pipeline = known.get((name, version))
        cells = ("[yellow]not in this code[/]", "", "") if pipeline is None else _cells(pipeline, registry)
        counted = [] if found is None else [str(found.get((name, version), 0))]
        table.add_row(name, str(version), *cells, *counted)
    return table


def _cells(pipeline: "Pipeline[Any]", registry: "PipelineRegistry") -> tuple[str, str, str]:
    newest = registry.get(pipeline.name) is pipeline
    types = ", ".join(pipeline.types) if newest else "[dim]no new events[/]"
    return types, pipeline.queue, ", ".join(node.name for node in pipeline.describe().nodes)
