from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from throughline.cli.output import STATUS_STYLE, console, duration, plain
from throughline.timeline.axis import Axis
from throughline.timeline.steps import Kind, Step, error_line, span_of, steps_of, time_of, wait_line

_LEAST_BAR = 16
_LATER = 1.0
"""Seconds after the event from which on a run tells when it was made."""

_INDENT = {Kind.WAIT: "  ", Kind.ATTEMPT: "  ", Kind.NODE: "    "}
_NOTE = "      "
_DEAD = frozenset({"failed", "lost"})


def show_event(event: dict[str, Any], *, now: datetime | None = None) -> None:
    """Print an event and the waterfall of its runs; ``event`` is what ``GET /events/{event_id}`` answers."""
    _print(event_lines(event, width=console.width, now=now or datetime.now(UTC)))


def show_run(run: dict[str, Any], *, now: datetime | None = None) -> None:
    """Print the waterfall of one run; ``run`` is what ``GET /runs/{run_id}`` answers."""
    _print(run_lines(run, width=console.width, now=now or datetime.now(UTC)))


def _print(lines: Iterator[Text]) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)


def event_lines(event: dict[str, Any], *, width: int, now: datetime) -> Iterator[Text]:
    """Yield the lines of an event: what it is, then each run on one time axis that begins when it was accepted."""
    yield _fact("event", event["event_id"], status=event["status"])
    yield _fact("type", event["type"])
    yield _fact("source", event["source"])
    yield _fact("id", event["id"])
    yield _fact("accepted", event["received_at"])
    yield from _trace(event)
    for wait in event.get("ended_waits", ()):
        yield _fact("ended", f"the wait of run {wait['run_id']} in {wait['node']}")
    replays = {run["replay_of"]: run["run_id"] for run in event["runs"]}
    runs = [run | {"replayed_by": replays.get(run["run_id"])} for run in event["runs"]]
    if runs:
        yield from _Waterfall(runs, zero=time_of(event["received_at"]), width=width, now=now).lines(event["trace_id"])


def run_lines(run: dict[str, Any], *, width: int, now: datetime) -> Iterator[Text]:
    """Yield the lines of one run, on a time axis that begins when it was made."""
    yield _fact("event", run["event_id"])
    yield _fact("type", run["type"])
    yield _fact("made", run["created_at"])
    yield from _trace(run)
    yield from _Waterfall([run], zero=time_of(run["created_at"]), width=width, now=now).lines(run["trace_id"])


class _Waterfall:
    """Runs on one time axis that begins at ``zero``; a step's start is told from when its run was made."""

    def __init__(self, runs: Sequence[dict[str, Any]], *, zero: datetime, width: int, now: datetime) -> None:
        self._zero, self._now, self._width = zero, now, width
        self._runs = [(run, list(steps_of(run, now=now))) for run in runs]
        steps = [step for _, of_run in self._runs for step in of_run]
        starts = [_started(step, span_of(run, now=now)[0]) for run, of_run in self._runs for step in of_run]
        self._start = max(map(cell_len, [*starts, "start"]))
        self._took = max([cell_len(_took(step)) for step in steps] + [len("took")])
        self._status = max([len(step.status) for step in steps] + [len("status")])
        taken = self._start + self._took + self._status + 4 * 2
        self._label = min(
            max([cell_len(_label(step)) for step in steps] + [len("  step")]), max(width - taken - _LEAST_BAR, 12)
        )
        spans = [(self._since(begin), self._since(end)) for begin, end in (span_of(run, now=now) for run in runs)]
        spans += [(self._since(step.begin), self._since(step.end)) for step in steps]
        self._whole = max(end for _, end in spans)
        self._axis = Axis(spans, columns=max(width - taken - self._label, 8))

    def lines(self, trace_id: str | None) -> Iterator[Text]:
        yield Text()
        yield self._row(
            "  step",
            "status",
            "start",
            "took",
            Text("0" + duration(self._whole).rjust(self._axis.columns - 1)),
            style="dim",
        )
        for place, (run, steps) in enumerate(self._runs):
            if place:
                yield Text()
            yield from self._head(run, trace_id)
            made, _ = span_of(run, now=self._now)
            for step in steps:
                yield self._step(step, made)
                yield from self._notes(step)
            yield from self._foot(run)

    def _head(self, run: dict[str, Any], trace_id: str | None) -> Iterator[Text]:
        made, end = span_of(run, now=self._now)
        took = f" in {duration((end - made).total_seconds())}" if run["finished_at"] else ""
        name = plain(run["pipeline"])
        yield Text.assemble(
            f"run {run['run_id']}  ",
            (name, "bold"),
            f" v{run['pipeline_version']}  ",
            (run["status"], STATUS_STYLE.get(run["status"], "")),
            took,
        )
        if run["replay_of"]:
            begin = f" from {plain(run['replay_from'])}" if run["replay_from"] else ""
            yield Text(f"  replay of {run['replay_of']}{begin}")
        if self._since(made) >= _LATER:
            yield Text(f"  made at +{duration(self._since(made))}")
        given = [plain(node["node"]) for node in run["nodes"] if not node["attempt"]]
        if given:
            yield self._cut(f"  taken over: {', '.join(given)}")
        if run["trace_id"] and run["trace_id"] != trace_id:
            yield from (Text("  ") + line for line in _trace(run))

    def _foot(self, run: dict[str, Any]) -> Iterator[Text]:
        if run["status"] == "queued" and run["reason"]:
            yield from (self._cut(f"  {line}") for line in self._why_queued(run))
        for limit in run.get("waits_for", ()):
            yield self._cut(f"  waits for {_limit(limit)}", style="yellow")
        if run["cancel_requested_at"]:
            asked = duration((time_of(run["cancel_requested_at"]) - time_of(run["created_at"])).total_seconds())
            reason = f": {plain(run['cancel_reason'])}" if run["cancel_reason"] else ""
            yield self._cut(f"  cancel asked for at +{asked}{reason}", style="yellow")
        elif run["cancel_reason"]:
            yield self._cut(f"  cancelled: {plain(run['cancel_reason'])}", style="yellow")
        last = run["attempts"][-1]["error"] if run["attempts"] else None
        if run["failure"] and run["error"] and run["error"] != last:
            yield self._cut(f"  {run['failure']['kind']}: {error_line(run['error'])}", style="red")
        if run["replayed_by"]:
            yield Text(f"  replayed by {run['replayed_by']}")

    def _why_queued(self, run: dict[str, Any]) -> Iterator[str]:
        left = (time_of(run["available_at"]) - self._now).total_seconds()
        lasting = [wait for wait in run.get("waits", ()) if wait["ended_at"] is None]
        if left > 0 and lasting:
            yield wait_line(lasting[-1])
            yield f"until {lasting[-1]['until'][:19]}Z, for {duration(left)} more"
            return
        due = f", due in {duration(left)}" if left > 0 else ""
        yield f"waits in queue {plain(run['queue'])}: {run['reason']}{due}"

    def _step(self, step: Step, made: datetime) -> Text:
        style = STATUS_STYLE.get(step.status, "") if step.kind is not Kind.WAIT else "dim"
        kind = Kind.WAIT if step.status == "skipped" else step.kind
        line = self._axis.bar(kind, self._since(step.begin), self._since(step.end), is_open=step.open)
        bar = Text(line.rstrip(), style=style)
        return self._row(_label(step), step.status, _started(step, made), _took(step), bar, status_style=style)

    def _row(  # noqa: PLR0913 - each column
        self, label: str, status: str, start: str, took: str, bar: Text, *, style: str = "", status_style: str = ""
    ) -> Text:
        cells = f"{_fit(label, self._label)}  "
        row = Text.assemble(
            cells,
            (status.ljust(self._status), status_style),
            f"  {start.rjust(self._start)}  {took.rjust(self._took)}  ",
            bar,
            style=style,
        )
        row.rstrip()
        return row

    def _notes(self, step: Step) -> Iterator[Text]:
        if step.error:
            yield self._cut(_NOTE + step.error, style="red" if step.status in _DEAD else "yellow")
        joined = _NOTE + "  ".join(step.notes)
        if cell_len(joined) <= self._width:
            if step.notes:
                yield Text(joined, style="dim")
        else:
            yield from (Text(_NOTE + note, style="dim") for note in step.notes)

    def _cut(self, text: str, *, style: str = "") -> Text:
        return Text(_fit(text, self._width).rstrip(), style=style)

    def _since(self, moment: datetime) -> float:
        return max((moment - self._zero).total_seconds(), 0.0)


def _label(step: Step) -> str:
    return _INDENT[step.kind] + step.label


def _started(step: Step, made: datetime) -> str:
    return f"+{duration(max((step.begin - made).total_seconds(), 0.0))}"


def _took(step: Step) -> str:
    return duration(max((step.end - step.begin).total_seconds(), 0.0))


def _fit(text: str, width: int) -> str:
    """Return ``text`` in exactly so many cells; what is too long ends with …."""
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _fact(name: str, value: str, *, status: str = "") -> Text:
    mark = (f"  {status}", STATUS_STYLE.get(status, "")) if status else ""
    return Text.assemble(f"{name:<10}{plain(value)}", mark)


def _limit(limit: dict[str, Any]) -> str:
    """Say which limit, of which key, and how far it is used up."""
    name = f"limit {plain(limit['name'])}" + (f" of {plain(limit['key'])}" if limit["key"] else "")
    used = [f"{limit['held']} of {limit['concurrency']} at work"] if limit["concurrency"] is not None else []
    if limit["rate"] is not None:
        used.append(f"{limit['started']} of {limit['rate']} started in {limit['per']:g} s")
    return f"{name}: {', '.join(used)}{'' if limit['full'] else '; it is the turn of others'}"


def _trace(shown: dict[str, Any]) -> Iterator[Text]:
    if shown["trace_id"]:
        yield _fact("trace", shown["trace_id"])
    if link := shown.get("links", {}).get("trace"):
        yield _fact("", link)
