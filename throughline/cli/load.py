from typing import Annotated

import typer

from settings import load_settings

_FASTEST = 50.0


def load(
    *,
    rate: Annotated[float, typer.Option(min=0.01, max=_FASTEST, help="Events a second.")] = 2.0,
    most: Annotated[int | None, typer.Option(min=1, help="Events to send; without it, until SIGTERM.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Where the API is; without it, THROUGHLINE_API_HOST and …_PORT tell.")
    ] = None,
) -> None:
    """Send sample events steadily, some of which stumble, take long or fail: for boards that would be empty.

    Those are for the pipeline of throughline.load.flows: name it in THROUGHLINE_PIPELINES_MODULES of API and workers.
    """
    import signal
    import threading

    from observability.logs import configure_logging, limit_rate
    from throughline.cli.events import client_of
    from throughline.load import Steady, send_steadily

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    configure_logging(load_settings().log, service="load")
    limit_rate("throughline.load.steady", seconds=10.0)
    with client_of(url) as client:
        send_steadily(client, Steady(rate=rate, most=most), stop=stop)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(load)
