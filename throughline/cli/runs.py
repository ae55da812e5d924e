import json
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from throughline.cli.events import AsJson, Url, client_of
from throughline.cli.nothing import say_nothing_matches
from throughline.cli.output import console, print_whole, styled

app = typer.Typer(help="Find runs, cancel, replay or purge them.", no_args_is_help=True)

RunId = Annotated[str, typer.Argument(help="The run's id.")]
_PUT_OFF = frozenset({"waiting", "sleeping", "limited"})
_KIND_HELP = "error, timeout, invalid_output, invalid_event, poisoned, expired or incompatible."


@app.command("list")
def list_(  # noqa: PLR0913 - each filter of the API
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, at most.")] = 20,
    dead: Annotated[bool, typer.Option("--dead", help="Failed ones that nobody has replayed.")] = False,
    status: Annotated[str | None, typer.Option(help="Runs in this state.")] = None,
    pipeline: Annotated[str | None, typer.Option(help="Runs of this pipeline.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Runs for events of this type.")] = None,
    failure_kind: Annotated[str | None, typer.Option(help=_KIND_HELP)] = None,
    after: Annotated[str | None, typer.Option(help="Ended at or after this time (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option(help="Ended before this time (RFC 3339).")] = None,
    url: Url = None,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first."""
    filters = {"pipeline": pipeline, "type": kind, "failure_kind": failure_kind, "after": after, "before": before}
    filters |= {"status": "failed", "replayed": "false"} if dead else {"status": status}
    with client_of(url) as client:
        found = list(client.runs(limit=limit, **filters))
        if not found:
            say_nothing_matches(client, "runs", kind=kind, pipeline=pipeline)
    if as_json:
        typer.echo(json.dumps(found))
    if as_json or not found:
        return
    table = Table("run", "event", "pipeline", "status", "attempts", "ended", "error", box=None, pad_edge=False)
    for run in found:
        ended = (run["finished_at"] or "")[:19].replace("T", " ")
        table.add_row(
            run["run_id"],
            run["event_id"],
            run["pipeline"],
            styled(run["status"]) + (f" ({run['reason']})" if run.get("reason") in _PUT_OFF else ""),
            str(run["attempt"]),
            ended,
            escape(_error(run)),
        )
    print_whole(table)


@app.command()
def show(run_id: RunId, *, url: Url = None, as_json: AsJson = False) -> None:
    """Show one run: its attempts, the timeline of its nodes, what it repeats and what repeats it."""
    from throughline.timeline import show_run

    with client_of(url) as client:
        run = client.run(run_id)
    if as_json:
        typer.echo(json.dumps(run))
        return
    show_run(run)


@app.command()
def cancel(
    run_id: RunId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the run.")] = None,
    url: Url = None,
) -> None:
    """Cancel a run: a queued one at once, a running one at its next await or node edge."""
    with client_of(url) as client:
        answer = client.cancel(run_id, reason=reason)
    said = "cancelled" if answer["status"] == "cancelled" else "its worker was asked to end it"
    console.print(f"{run_id}  {said}", soft_wrap=True)


@app.command()
def replay(  # noqa: PLR0913 - one run, or each filter of the API
    run_id: Annotated[str | None, typer.Argument(help="The run to replay; none with --dead.")] = None,
    *,
    node: Annotated[str | None, typer.Option("--from", help="The node to begin at; earlier results are kept.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All failed runs that match and nobody has replayed.")] = False,
    pipeline: Annotated[str | None, typer.Option(help="With --dead: runs of this pipeline.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="With --dead: for events of this type.")] = None,
    failure_kind: Annotated[str | None, typer.Option(help=f"With --dead: {_KIND_HELP}")] = None,
    after: Annotated[str | None, typer.Option(help="With --dead: failed at or after (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option(help="With --dead: failed before (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="With --dead: how many, at most.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --dead: say what it would be, do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --dead: do it.")] = False,
    url: Url = None,
) -> None:
    """Replay a run as a new one, or with --dead all dead ones that match (say --dry-run first, then --yes)."""
    filters = {"pipeline": pipeline, "type": kind, "failure_kind": failure_kind, "after": after, "before": before}
    wanted: dict[str, Any] = {key: value for key, value in filters.items() if value}
    if dead == (run_id is not None):
        raise typer.BadParameter("name one run, or give --dead")
    if dead and dry_run == yes:
        raise typer.BadParameter("--dead takes --dry-run, which says what it would replay, or --yes, which does it")
    if (dead and node) or (not dead and (wanted or dry_run or yes)):
        raise typer.BadParameter("--from is for one run; filters, --dry-run and --yes are for --dead")
    with client_of(url) as client:
        if run_id is not None:
            _say_made([client.replay_run(run_id, node=node)])
        else:
            _say_dead(client.replay_dead(wanted | {"limit": limit, "dry_run": dry_run}), limit=limit)


@app.command()
def purge(  # noqa: PLR0913 - each filter of the API
    *,
    dead: Annotated[bool, typer.Option("--dead", help="All failed runs that match and nobody has replayed.")] = False,
    pipeline: Annotated[str | None, typer.Option(help="Runs of this pipeline.")] = None,
    kind: Annotated[str | None, typer.Option("--type", help="Runs for events of this type.")] = None,
    failure_kind: Annotated[str | None, typer.Option(help=_KIND_HELP)] = None,
    after: Annotated[str | None, typer.Option(help="Failed at or after (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option(help="Failed before (RFC 3339).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, at most.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would be, do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    url: Url = None,
) -> None:
    """Remove dead runs for good, with their events (say --dry-run first, then --yes)."""
    if not dead:
        raise typer.BadParameter("only dead runs can be purged: give --dead")
    if dry_run == yes:
        raise typer.BadParameter("give --dry-run, which says what it would remove, or --yes, which does it")
    filters = {"pipeline": pipeline, "type": kind, "failure_kind": failure_kind, "after": after, "before": before}
    wanted: dict[str, Any] = {key: value for key, value in filters.items() if value}
    with client_of(url) as client:
        _say_purged(client.purge_dead(wanted | {"limit": limit, "dry_run": dry_run}), limit=limit)


def replay_event(event_id: Annotated[str, typer.Argument(help="The event's id.")], *, url: Url = None) -> None:
    """Replay an event: a new run for each pipeline that takes its type now."""
    with client_of(url) as client:
        _say_made(client.replay_event(event_id)["runs"])


def _say_made(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        origin = f"replay of {run['replay_of']}" if run["replay_of"] else "first run"
        console.print(f"{run['run_id']}  {run['pipeline']}  {origin}", soft_wrap=True)


def _say_dead(answer: dict[str, Any], *, limit: int) -> None:
    would = min(answer["matching"], limit)
    counts = f"{would} would be replayed" if answer["dry_run"] else f"{answer['replayed']} replayed"
    console.print(f"{answer['matching']} dead runs match, {counts}")
    for pipeline, count in answer.get("left_out", {}).items():
        console.print(
            f"{count} more of {escape(pipeline)} are left out: the API has not loaded that pipeline "
            "(THROUGHLINE_PIPELINES_MODULES)",
            soft_wrap=True,
        )
    _say_sample(answer["sample"], of=would if answer["dry_run"] else answer["replayed"])


def _say_purged(answer: dict[str, Any], *, limit: int) -> None:
    would = min(answer["matching"] - answer["kept"], limit)
    counts = f"{would} would be removed" if answer["dry_run"] else f"{answer['purged']} removed"
    console.print(f"{answer['matching']} dead runs match, {counts}")
    if answer["kept"]:
        console.print(f"{answer['kept']} stay with their event: another run of it is open, or dead and does not match")
    if not answer["dry_run"]:
        console.print(f"{answer['events']} events went, with {answer['runs']} runs in all")
    _say_sample(answer["sample"], of=answer["matching"] if answer["dry_run"] else answer["purged"])


def _say_sample(sample: list[str], *, of: int) -> None:
    for run_id in sample:
        console.print(f"  {run_id}")
    if len(sample) < of:
        console.print("  …")


def _error(run: dict[str, Any]) -> str:
    error = run["error"]
    if not error:
        return ""
    where = f"{error['node']}: " if error.get("node") else ""
    return f"{where}{error.get('type')}: {error.get('message')}"[:80]
