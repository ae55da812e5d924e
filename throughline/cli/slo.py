from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from settings import Settings, load_settings
from throughline.cli.files import write_files

if TYPE_CHECKING:
    from observability.alerts import Links, Objective, Plan, TimeScale
    from pipelines import PipelineRegistry

app = typer.Typer(help="What is promised, and the alerts that hold the system to it.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``rules`` a command of its own, though it is the only one."""


@app.command()
def rules(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the rule files; without one, one file to stdout.")
    ] = None,
    scale: Annotated[
        float, typer.Option(min=0.0001, max=1.0, help="What every window and `for` is multiplied by.")
    ] = 1.0,
    runbook: Annotated[str | None, typer.Option(help="Address of docs/runbook.md, for runbook_url.")] = None,
    dashboards: Annotated[str | None, typer.Option(help="Address of Grafana, for dashboard_url.")] = None,
) -> None:
    """Make Prometheus rules of what the pipelines and THROUGHLINE_SLO_* promise."""
    from observability.alerts import Links, TimeScale, render, render_files
    from pipelines import PipelineRegistry

    settings = load_settings()
    registry = PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    given = {name: url.rstrip("/") for name, url in (("runbook", runbook), ("dashboards", dashboards)) if url}
    plan = plan_of(registry, settings, scale=TimeScale(scale), links=Links(**given))
    if out is None:
        typer.echo(render(plan), nl=False)
        return
    write_files(out, render_files(plan))


def plan_of(
    registry: "PipelineRegistry",
    settings: Settings,
    *,
    scale: "TimeScale | None" = None,
    links: "Links | None" = None,
) -> "Plan":
    """Gather what pipelines and settings promise, and the queues that work may wait in."""
    from observability.alerts import Links, Plan, TimeScale

    queues = dict.fromkeys([*(pipeline.queue for pipeline in registry.pipelines), settings.worker.cell_queue])
    return Plan(
        objectives=tuple(_objectives(registry, settings)),
        queues=tuple(queues),
        scale=scale or TimeScale(),
        links=links or Links(),
    )


def _objectives(registry: "PipelineRegistry", settings: Settings) -> "Iterator[Objective]":
    from observability.alerts import Objective
    from observability.metrics import Sli

    ingest = settings.slo
    yield Objective(sli=Sli.INGEST, share=ingest.ingest_share, within=ingest.ingest_within)
    for pipeline in registry.pipelines:
        slo = pipeline.slo
        for sli, target in ((Sli.QUEUEING, slo and slo.queueing), (Sli.EXECUTION, slo and slo.execution)):
            if target:
                yield Objective(
                    sli=sli, share=target.share, within=target.within, pipeline=pipeline.name, queue=pipeline.queue
                )
