import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from events import DEFAULT_TENANT, ConfigurationError, least_id
from settings import DatabaseSettings
from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.nothing import near_names

if TYPE_CHECKING:
    from pipelines import Pipeline
    from throughline.backtest import Wanted
    from throughline.backtest.show import Summary

_SPAN: Final = re.compile(r"(\d+)([mhdw])")
_FIRST: Final = datetime.fromtimestamp(0, UTC)
"""No id tells of an earlier time."""
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def backtest(  # noqa: PLR0913 - which runs, and how they are told
    pipeline: Annotated[str, typer.Argument(help="The pipeline's name, as the code here has it.")],
    *,
    last: Annotated[int, typer.Option(min=1, help="How many runs, the newest.")] = 100,
    since: Annotated[
        str | None, typer.Option(help="Of events taken in since then: a time (RFC 3339), or 30m, 12h, 7d, 4w ago.")
    ] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Of events of this type.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Runs at once.")] = 4,
    changed_only: Annotated[bool, typer.Option("--changed-only", help="Show only the runs that differ.")] = False,
    fail_on_difference: Annotated[
        bool, typer.Option("--fail-on-difference", help="End with 1 when a run differs.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as one JSON object.")] = False,
    data: Data = None,
) -> None:
    """Run the code's pipeline on past events and say what becomes of them now; read only, nothing is stored.

    Nodes with effects are not called: they give back what production stored. All others are called in earnest. Ends
    with 0; with 1 if a run differs and --fail-on-difference is given; with 2 if nothing could be compared.
    """
    from observability import logs
    from pipelines import PipelineRegistry
    from storage.past_runs import FIRST_ID
    from throughline.backtest import Wanted

    settings = settings_for(data)
    logs.configure_logging(settings.log, service="backtest")
    registry = PipelineRegistry.load(settings.pipelines.modules, builtin=settings.pipelines.builtin)
    found = registry.get(pipeline)
    if found is None:
        near = near_names(pipeline, [one.name for one in registry.pipelines])
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigurationError(f"the code here has no pipeline {pipeline!r} (THROUGHLINE_PIPELINES_MODULES){hint}")
    wanted = Wanted(last=last, type=kind, jobs=jobs, since=least_id(_moment(since)) if since else FIRST_ID)
    with reachable(settings.database, hint=data_hint()):
        summary = asyncio.run(
            _show(settings.database, found, wanted=wanted, changed_only=changed_only, as_json=as_json)
        )
    if not summary.compared:
        raise ConfigurationError(f"no ended run of {pipeline!r} was found to compare with")
    if fail_on_difference and summary.differing:
        raise typer.Exit(1)


async def _show(
    settings: DatabaseSettings, pipeline: "Pipeline[Any]", *, wanted: "Wanted", changed_only: bool, as_json: bool
) -> "Summary":
    from storage.past_reader import PastReader
    from throughline.backtest import LeftOut
    from throughline.backtest import backtest as compare
    from throughline.backtest.show import Json, Summary, Table

    shown, summary = (Json if as_json else Table)(pipeline), Summary()
    async with PastReader(settings, tenant=DEFAULT_TENANT, application="backtest") as reader:
        async for one in compare(reader, pipeline, wanted):
            if isinstance(one, LeftOut):
                summary.left_out[one.why] += 1
                continue
            summary.add(one)
            if one.differences or not changed_only:
                shown.one(one)
    shown.end(summary)
    return summary


def _moment(since: str) -> datetime:
    """Read a time, or how long ago it is.

    Raises:
        ConfigurationError: it is neither.

    """
    span = _SPAN.fullmatch(since)
    try:
        if span:
            moment = datetime.now(UTC) - timedelta(**{_UNITS[span[2]]: int(span[1])})
        else:
            moment = datetime.fromisoformat(since)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"--since is {since!r}; give a time such as 2026-11-30T08:00:00Z, or 12h") from None
    return max(moment if moment.tzinfo else moment.replace(tzinfo=UTC), _FIRST)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(backtest)
