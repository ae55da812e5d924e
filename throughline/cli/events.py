import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from settings import load_settings
from throughline.cli.nothing import say_nothing_matches
from throughline.cli.output import console, print_whole, say_error, styled

if TYPE_CHECKING:
    from throughline.client import Client
    from throughline.samples import Sample

app = typer.Typer(help="Send events, list them, follow one.", no_args_is_help=True)

Url = Annotated[
    str | None, typer.Option("--url", help="Where the API is; without it, THROUGHLINE_API_HOST and …_PORT tell.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's own answer.")]


def client_of(url: str | None) -> "Client":
    """Return a client of the API at ``url``, or where the settings say it is."""
    from throughline.client import Client

    api = load_settings().api
    return Client(url or f"http://{api.host}:{api.port}")


@app.command()
def send(  # noqa: PLR0913 - an event has this many sides
    path: Annotated[Path, typer.Argument(help="A JSON file, a folder of them, or - for standard input.")],
    *,
    kind: Annotated[
        str | None, typer.Option("--type", help="The type of a file that holds the data alone.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="The source, where a file names none.")] = None,
    subject: Annotated[str | None, typer.Option(help="The subject, where a file names none.")] = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for each event's end; 0 does not wait.")] = 0.0,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Send events from files: {"type": …, "data": …}, or data alone with --type or in a folder of webhook bodies.

    In such a folder, FOLDER/issues/*.json are the data of github.issues.
    """
    from throughline.client import ApiRefused
    from throughline.samples import read_samples

    bad = 0
    with client_of(url) as client:
        for sample in read_samples(path, kind=kind):
            defaults = {"source": source, "subject": subject}
            event = {key: value for key, value in defaults.items() if value} | dict(sample.event)
            try:
                answer = client.send(event)
            except ApiRefused as refused:
                say_error(f"{sample.name}: {refused}")
                bad += 1
                continue
            if wait:
                answer = client.wait(answer["event_id"], timeout=wait)
            bad += bool(wait) and answer["status"] != "succeeded"
            _say(sample, answer, as_json=as_json)
    if bad:
        raise typer.Exit(1)


def _say(sample: "Sample", answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer))
    else:
        console.print(
            f"{answer['event_id']}  {styled(answer['status'])}  {escape(sample.event['type'])}", soft_wrap=True
        )


@app.command("list")
def list_(  # noqa: PLR0913 - each filter of the API
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    kind: Annotated[str | None, typer.Option("--type", help="Events of this type.")] = None,
    source: Annotated[str | None, typer.Option(help="Events of this source.")] = None,
    status: Annotated[str | None, typer.Option(help="Events in this state.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Events that went to this pipeline.")] = None,
    after: Annotated[str | None, typer.Option(help="Received at or after this time (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option(help="Received before this time (RFC 3339).")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List events, newest first."""
    with client_of(url) as client:
        found = list(
            client.events(
                limit=limit, type=kind, source=source, status=status, pipeline=pipeline, after=after, before=before
            )
        )
        if not found:
            say_nothing_matches(client, "events", kind=kind, pipeline=pipeline)
    if as_json:
        typer.echo(json.dumps(found))
    if as_json or not found:
        return
    table = Table("event", "received", "type", "source", "status", "pipelines", box=None, pad_edge=False)
    for event in found:
        runs = ", ".join(run["pipeline"] for run in event["runs"])
        received = event["received_at"][:19].replace("T", " ")
        kind, source = escape(event["type"]), escape(event["source"])
        table.add_row(event["event_id"], received, kind, source, styled(event["status"]), runs)
    print_whole(table)


@app.command()
def show(
    event_id: Annotated[UUID, typer.Argument(help="The event's id.")],
    *,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show one event: its runs, their attempts, and the timeline of their nodes."""
    from throughline.timeline import show_event

    with client_of(url) as client:
        event = client.event(str(event_id))
    if as_json:
        typer.echo(json.dumps(event))
    else:
        show_event(event)
