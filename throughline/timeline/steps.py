"""What a run went through, step by step: its waits, its attempts and their nodes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from throughline.cli.output import plain
from throughline.timeline.items import summed_up

_QUEUED_AGAIN = frozenset({"retried", "lost", "handed_back", "suspended"})
"""Outcomes after which a run was queued anew, so that when it had been due before is known no more."""


class Kind(Enum):
    """What a step is."""

    WAIT = "wait"
    ATTEMPT = "attempt"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the waterfall. ``open``: it isn't over, and ``end`` is when it was looked at.

    ``error`` is one line; ``notes`` are texts that belong to it.
    """

    kind: Kind
    label: str
    begin: datetime
    end: datetime
    status: str = ""
    open: bool = False
    error: str = ""
    notes: tuple[str, ...] = ()


def time_of(text: str) -> datetime:
    """Return a time of the API's answer."""
    return datetime.fromisoformat(text)


def span_of(run: dict[str, Any], *, now: datetime) -> tuple[datetime, datetime]:
    """Return when a run was made, and when it ended or ``now``."""
    created = time_of(run["created_at"])
    return created, max(time_of(run["finished_at"]) if run["finished_at"] else now, created)


def steps_of(run: dict[str, Any], *, now: datetime) -> Iterator[Step]:
    """Yield the steps of a run in the order they began; the results it was given by its origin are none."""
    made, ended = span_of(run, now=now)
    outcome, since = None, made
    due = time_of(run["available_at"])
    for place, attempt in enumerate(run["attempts"]):
        begin = time_of(attempt["started_at"])
        is_last = place == len(run["attempts"]) - 1 and attempt["outcome"] not in _QUEUED_AGAIN
        yield from _between(run, outcome, since, begin, due=due if is_last else None)
        nodes = [node for node in run["nodes"] if node["attempt"] == attempt["attempt"]]
        yield _attempt(attempt, nodes, now=now)
        yield from nodes_of(nodes)
        outcome = attempt["outcome"]
        since = time_of(attempt["finished_at"]) if attempt["finished_at"] else ended
    if run["status"] == "queued" or since < ended:
        is_open = run["status"] == "queued"
        yield from _between(run, outcome, since, ended, due=due, is_open=is_open)


def wait_line(wait: dict[str, Any]) -> str:
    """Return in one line what a wait is for."""
    if wait["type"] is None:
        return f"sleeps in {plain(wait['node'])}"
    return f"waits in {plain(wait['node'])} for {plain(wait['type'])} with {wait['path']} = {plain(wait['key'])}"


def _between(
    run: dict[str, Any],
    outcome: str | None,
    begin: datetime,
    end: datetime,
    *,
    due: datetime | None,
    is_open: bool = False,
) -> Iterator[Step]:
    """Yield what lies between two attempts, or after the last."""
    wait = _wait_at(run, begin) if outcome == "suspended" else None
    if wait is None:
        yield from _waits(outcome, begin, end, due=due, is_open=is_open)
        return
    over = time_of(wait["ended_at"] if wait["event_id"] else wait["until"])
    until = min(max(over, begin), end)
    yield Step(
        kind=Kind.WAIT,
        label="sleeping" if wait["type"] is None else "waiting",
        begin=begin,
        end=until,
        open=is_open and over > end,
        notes=(wait_line(wait), *_ended_by(wait)),
    )
    if until < end:
        yield Step(kind=Kind.WAIT, label="queued", begin=until, end=end, open=is_open)


def _wait_at(run: dict[str, Any], moment: datetime) -> dict[str, Any] | None:
    """Return the wait that a run was put off for at a moment: the latest one that had begun."""
    begun: list[dict[str, Any]] = [wait for wait in run.get("waits", ()) if time_of(wait["began_at"]) <= moment]
    return begun[-1] if begun else None


def _ended_by(wait: dict[str, Any]) -> tuple[str, ...]:
    if wait["ended_at"] is None or wait["type"] is None:
        return ()
    return (f"ended by event {wait['event_id']}" if wait["event_id"] else "the time was over",)


def _waits(
    outcome: str | None, begin: datetime, end: datetime, *, due: datetime | None, is_open: bool = False
) -> Iterator[Step]:
    """Yield what lies between two attempts. When a run was ``due`` is known of its last wait alone."""
    delay = "backoff" if outcome == "retried" else "delayed"
    if due is None and outcome == "retried":
        yield Step(kind=Kind.WAIT, label="backoff and queued", begin=begin, end=end)
        return
    if due is not None and due > begin:
        yield Step(kind=Kind.WAIT, label=delay, begin=begin, end=min(due, end), open=is_open and due > end)
        begin = due
    if begin <= end:
        yield Step(kind=Kind.WAIT, label="queued", begin=begin, end=end, open=is_open)


def _attempt(attempt: dict[str, Any], nodes: list[dict[str, Any]], *, now: datetime) -> Step:
    begin = time_of(attempt["started_at"])
    error = attempt["error"]
    told = {node["node"] for node in nodes if node["error"]}
    task = attempt["links"]["task"] or attempt["task_id"]
    return Step(
        kind=Kind.ATTEMPT,
        label=f"attempt {attempt['attempt']}",
        status=attempt["outcome"] or "running",
        begin=begin,
        end=max(time_of(attempt["finished_at"]) if attempt["finished_at"] else now, begin),
        open=attempt["outcome"] is None,
        error="" if error and error.get("node") in told else error_line(error),
        notes=(f"on {plain(attempt['worker'])}", *((f"task {plain(task)}",) if task else ())),
    )


def nodes_of(nodes: list[dict[str, Any]]) -> Iterator[Step]:
    """Yield a step for each result of an attempt; many items of one map are summed up in one, and in its failures."""
    for result, items in summed_up(nodes):
        step = _node(result)
        if items is None:
            yield step
            continue
        yield replace(step, label=f"{plain(result['node'])}[...]", notes=(items,))


def _node(node: dict[str, Any]) -> Step:
    begin = time_of(node["started_at"])
    return Step(
        kind=Kind.NODE,
        label=plain(node["node"]) + (f"[{node['item']}]" if node["item"] else ""),
        status=node["status"],
        begin=begin,
        end=datetime.fromtimestamp(begin.timestamp() + node["duration"], tz=begin.tzinfo),
        error=error_line(node["error"]),
    )


def error_line(error: dict[str, Any] | None) -> str:
    """Return an error in one line: its type, the node it came from, its message; of a death the message says it all."""
    if not error:
        return ""
    message = plain(str(error.get("message") or ""))
    if error.get("type") in {"ProcessDied", "Unexplained"}:
        return message
    where = f" in {plain(str(error['node']))}" if error.get("node") else ""
    return f"{plain(str(error.get('type') or 'error'))}{where}" + (f": {message}" if message else "")
