from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from throughline.cli.output import STATUS_STYLE, console, duration, styled

_BAR = 40


def show_event(event: dict[str, Any]) -> None:
    """Print an event, then the timeline of each of its runs: from received to the last node."""
    console.print(f"event     {event['event_id']}  {styled(event['status'])}", soft_wrap=True)
    console.print(f"type      {event['type']}", markup=False, soft_wrap=True)
    console.print(f"source    {event['source']}  id {event['id']}", markup=False, soft_wrap=True)
    console.print(f"received  {event['received_at']}", soft_wrap=True)
    console.print(f"trace     {event['trace_id']}", soft_wrap=True)
    for run in event["runs"]:
        console.print()
        _show_run(run, received=_time(event["received_at"]))


def show_run(run: dict[str, Any]) -> None:
    """Print the timeline of one run, from when it was made."""
    _show_run(run, received=_time(run["created_at"]))


def _show_run(run: dict[str, Any], *, received: datetime) -> None:
    whole = (_time(run["finished_at"]) - received).total_seconds() if run["finished_at"] else None
    took = f" in {duration(whole)}" if whole is not None else ""
    pipeline = f"[bold]{run['pipeline']}[/bold] v{run['pipeline_version']}"
    console.print(f"run {run['run_id']}  {pipeline}  {styled(run['status'])}{took}", soft_wrap=True)
    steps = list(_steps(run, received=received))
    span = max([end for _, _, _, end in steps] + [whole or 0.0, 1e-6])
    table = Table(box=None, pad_edge=False, show_header=False)
    for label, status, begin, end in steps:
        table.add_row(
            label, styled(status), f"+{duration(begin)}", duration(end - begin), _bar(status, begin / span, end / span)
        )
    console.print(table)
    if run.get("error"):
        console.print(f"  {run['error'].get('type')}: {run['error'].get('message')}", style="red", markup=False)


def _steps(run: dict[str, Any], *, received: datetime) -> Iterator[tuple[str, str, float, float]]:
    """Yield label, status, begin and end of each step, in seconds since the event was received."""

    def since(text: str) -> float:
        return max((_time(text) - received).total_seconds(), 0.0)

    for node in run["nodes"]:
        if not node["attempt"]:
            yield f"  {node['node']}, taken over", node["status"], 0.0, 0.0
    if run["attempts"]:
        yield "  queued", "", 0.0, since(run["attempts"][0]["started_at"])
    for attempt in run["attempts"]:
        begin = since(attempt["started_at"])
        end = since(attempt["finished_at"]) if attempt["finished_at"] else begin
        yield f"  attempt {attempt['attempt']} on {attempt['worker']}", attempt["outcome"] or "running", begin, end
        for node in run["nodes"]:
            if node["attempt"] == attempt["attempt"]:
                start = since(node["started_at"])
                label = node["node"] + (f"[{node['item']}]" if node["item"] else "")
                yield f"    {label}", node["status"], start, start + node["duration"]


def _bar(status: str, begin: float, end: float) -> Text:
    first = min(int(begin * _BAR), _BAR - 1)
    last = max(first + 1, min(round(end * _BAR), _BAR))
    return Text(
        " " * first + ("·" if status == "skipped" else "━") * (last - first), style=STATUS_STYLE.get(status, "")
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
