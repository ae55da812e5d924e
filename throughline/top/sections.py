"""What an overview says, as rows of text: a heading, and columns of which the last takes what is left of a line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from storage.lately import Rates
from storage.overview import COUNTED, Overview
from throughline.cli.output import duration, plain
from throughline.timeline.steps import error_line

_SHORT_ID = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows of one kind. ``texts``: so many columns from the left hold text, the others numbers, set to the right.

    ``wide``: the last column holds text and takes the rest of the line; there may be more of these rows than are known.
    """

    heading: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    texts: int = 1
    wide: bool = False
    style: str = ""


def sections_of(seen: Overview, *, wide: bool) -> Iterator[Section]:
    """Yield what there is to list, the most needed first; ``wide``: there is room for whole ids."""
    limited = any(queue.limited for queue in seen.queues)
    yield Section(
        heading=("queue", "due", *(("limited",) if limited else ()), "scheduled", "sent", "in flight", "oldest"),
        rows=[
            (
                plain(queue.queue),
                f"{queue.due:,}",
                *((f"{queue.limited:,}",) if limited else ()),
                f"{queue.delayed:,}",
                f"{queue.published:,}",
                f"{queue.running:,}",
                duration(queue.oldest_age) if queue.due else "",
            )
            for queue in seen.queues
        ],
    )
    yield Section(heading=("worker", "boot", "", "runs", "up", "renewed"), texts=3, rows=list(_workers(seen)))
    since = duration(seen.lately.reach)
    yield Section(
        heading=(f"pipeline, last {since}", "running", "succeeded", "failed", "p50", "p95"),
        rows=list(_pipelines(seen)),
    )
    yield Section(
        heading=("slowest nodes", "pipeline", "count", "p50", "longest"),
        texts=2,
        rows=[
            (plain(node.node), plain(node.pipeline), f"{node.count:,}", duration(node.p50), duration(node.longest))
            for node in seen.nodes
        ],
    )
    yield Section(
        heading=("newest failures", "run", "pipeline", "why"),
        texts=4,
        wide=True,
        style="red",
        rows=[
            (
                f"{duration(max((seen.at - one.finished_at).total_seconds(), 0.0))} ago",
                str(one.run_id)[: None if wide else _SHORT_ID],
                plain(one.pipeline),
                f"{one.kind.value}: {error_line(one.error)}",
            )
            for one in seen.failures
        ],
    )


def _workers(seen: Overview) -> Iterator[tuple[str, ...]]:
    for worker in seen.workers:
        name, _, boot = plain(worker.worker).partition("#")
        renewed = duration(max((seen.at - worker.renewed_at).total_seconds(), 0.0))
        kind = "late" if worker.is_late else "cell" if worker.cell else ""
        up = duration(max((seen.at - worker.started_at).total_seconds(), 0.0))
        yield name, boot, kind, f"{worker.runs:,}", up, f"{renewed} ago"


def _pipelines(seen: Overview) -> Iterator[tuple[str, ...]]:
    ended = {one.pipeline: one for one in seen.lately.ended}

    def busy(name: str) -> tuple[int, str]:
        one = ended.get(name)
        return -seen.running.get(name, 0) - (one.succeeded + one.failed + one.cancelled if one else 0), name

    for name in sorted(ended.keys() | seen.running.keys(), key=busy):
        one = ended.get(name)
        yield (
            plain(name),
            f"{seen.running.get(name, 0):,}",
            f"{one.succeeded if one else 0:,}",
            f"{one.failed if one else 0:,}",
            duration(one.p50) if one else "",
            duration(one.p95) if one else "",
        )


def rates_of(seen: Overview) -> Section:
    """Return the rates over the last interval and the last minute."""

    def row(name: str, rates: Rates) -> tuple[str, ...]:
        return name, *(_rate(one) for one in (rates.accepted, rates.completed, rates.failed, rates.retried))

    return Section(
        heading=("", "accepted/s", "completed/s", "failed/s", "retried/s"),
        rows=[row(f"last {duration(seen.interval)}", seen.lately.last), row("last minute", seen.lately.minute)],
    )


def standing_of(seen: Overview) -> list[tuple[str, str]]:
    """Return what stands: open and dead runs, unrouted events and the account's difference, each with its style."""
    return [
        (f"open {seen.account.open:,}", ""),
        (f"dead {_counted(seen.dead)}", "red" if seen.dead else ""),
        (f"unrouted {_counted(seen.unrouted)}", "yellow" if seen.unrouted else ""),
        (f"accounting difference {seen.account.difference:,}", "bold red" if seen.account.difference else ""),
    ]


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or not value else f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"  # noqa: PLR2004 - how many digits tell something


def _counted(count: int) -> str:
    return f"{count:,}" + ("+" if count >= COUNTED else "")
