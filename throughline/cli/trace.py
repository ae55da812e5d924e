import asyncio
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from events import DEFAULT_TENANT
from throughline.cli.database import Data, data_hint, reachable, settings_for
from throughline.cli.output import plain, say_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.finding import FoundId


def trace(
    wanted: Annotated[str, typer.Argument(metavar="ID", help="An event's or a run's id, or its beginning.")],
    *,
    data: Data = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as GET /events/{event_id} or GET /runs/{run_id} answers.")
    ] = False,
) -> None:
    """Follow one event, or one run, across processes and attempts; read from the database alone."""
    from api.presenting import Presenter
    from storage.finding import IdPrefix, look_up
    from storage.records import EventRecord
    from throughline.timeline import show_event, show_run

    settings = settings_for(data)
    prefix = IdPrefix.parse(wanted)
    if prefix is None:
        _refuse(f"{plain(wanted)!r} is no id of an event or a run, nor the beginning of one")
    with reachable(settings.database, hint=data_hint()):
        found = asyncio.run(look_up(settings.database, prefix, tenant=DEFAULT_TENANT))
    if found.story is None:
        _refuse(_none_or_many(wanted, found.matching))
    presenter = Presenter(settings.api)
    shown = presenter.event(found.story) if isinstance(found.story, EventRecord) else presenter.run(found.story)
    if as_json:
        typer.echo(shown.model_dump_json(indent=2))
    else:
        show = show_event if isinstance(found.story, EventRecord) else show_run
        show(shown.model_dump(mode="json"), now=found.at)


def _none_or_many(wanted: str, matching: "Sequence[FoundId]") -> str:
    if not matching:
        return f"no event and no run has the id {wanted}"
    named = ", ".join(f"{one.kind} {one.id}" for one in matching)
    return f"more than one begins with {wanted}: {named}, …"


def _refuse(message: str) -> NoReturn:
    say_error(message)
    raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the command that follows one event."""
    app.command()(trace)
