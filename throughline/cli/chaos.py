import random
from dataclasses import replace
from typing import Annotated

import typer


def chaos(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Each fault once, briefly: about five minutes.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Six faults, briefly: about two minutes.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats a plan; without one it is drawn, and printed.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.5, max=240, help="Minutes it may take.")] = None,
    events: Annotated[int | None, typer.Option(min=1, help="Events to send, at least.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Only this fault; give it several times for several.")] = None,
) -> None:
    """Start everything here, break it in every known way under load, and audit that every 202 was kept.

    Ends with 0 only if nothing was lost, doubled or stuck, everything recovered in time, and every answer was one that
    the fault allows.
    """
    from throughline.chaos.plan import CI, FULL, QUICK
    from throughline.chaos.run import run_chaos
    from throughline.supervision import StopRequested

    form = CI if short else QUICK if quick else FULL
    if only:
        form = replace(form, only=tuple(only), faults=len(only), minutes=3.0, events=300)
    form = replace(form, minutes=minutes or form.minutes, events=events or form.events)
    try:
        code = run_chaos(form, seed=random.randrange(1_000_000) if seed is None else seed)  # noqa: S311 - not secret
    except StopRequested as stop:
        raise typer.Exit(stop.exit_code) from None
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(chaos)
