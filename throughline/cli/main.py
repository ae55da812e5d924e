import os
import sys

import typer

from events import ThroughlineError
from settings import SettingsError
from throughline.cli import (
    audit,
    backtest,
    chaos,
    dashboards,
    events,
    export,
    load,
    log_level,
    look,
    run,
    runs,
    slo,
    stack,
    top,
    trace,
    writing,
)
from throughline.cli.output import say_error

app = typer.Typer(
    name="throughline",
    help="Events in over HTTP, pipelines run for them on Celery workers, every step visible.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for module in (stack, run, look, trace, top, log_level, audit, backtest, chaos, dashboards, load):
    module.register(app)
events.app.command("replay")(runs.replay_event)
runs.app.command("export")(export.export)
app.add_typer(events.app, name="events")
app.add_typer(runs.app, name="runs")
writing.register(look.pipelines)
app.add_typer(look.pipelines, name="pipelines")
app.add_typer(slo.app, name="slo")


def main() -> None:
    """Run the command line; what goes wrong for a known reason is one line on stderr and a code that isn't 0."""
    try:
        app()
    except (ThroughlineError, SettingsError) as error:
        say_error(str(error))
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
