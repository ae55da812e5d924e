import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.screen import Screen as WholeTerminal

from events import FailureKind
from storage.accounting import Balance
from storage.lately import EndedRuns, Failure, Lately, NodeTimes, Rates
from storage.overview import COUNTED, LiveWorker, Overview
from storage.records import QueueState
from throughline.top import Screen
from throughline.top.screen import share

EXPECTED = Path(__file__).parent / "expected"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return AT - timedelta(seconds=seconds)


def a_failure(number: int) -> Failure:
    return Failure(
        run_id=UUID(int=(0x01A2132B << 96) + number),
        event_id=UUID(int=number),
        pipeline="orders",
        kind=FailureKind.ERROR,
        error={"type": "RuntimeError", "node": "charge", "message": "no answer\nfrom the bank, after three tries"},
        finished_at=ago(number),
    )


SEEN = Overview(
    at=AT,
    interval=2.0,
    lately=Lately(
        last=Rates(accepted=1512.0, completed=498.5, failed=1.0, retried=0.5),
        minute=Rates(accepted=1490.25, completed=87.25, failed=0.05, retried=0.0),
        reach=300.0,
        ended=(
            EndedRuns(pipeline="quiet", succeeded=0, cancelled=2, failed=0, p50=None, p95=None),
            EndedRuns(pipeline="orders", succeeded=12345, cancelled=0, failed=7, p50=0.0123, p95=1.5),
        ),
    ),
    queues=(
        QueueState(queue="cell", due=0, delayed=0, published=0, running=1, oldest_age=0.0),
        QueueState(queue="default", due=1234, delayed=12, published=1000, running=64, oldest_age=12.1),
    ),
    workers=(
        LiveWorker(
            worker="worker-7@host#ab12cd34",
            cell=False,
            started_at=ago(4000),
            renewed_at=ago(1.2),
            is_late=False,
            runs=64,
        ),
        LiveWorker(
            worker="worker-8@host#cd34ab12/0.99",
            cell=True,
            started_at=ago(40),
            renewed_at=ago(1),
            is_late=False,
            runs=1,
        ),
        LiveWorker(
            worker="worker-9@host#ef56", cell=False, started_at=ago(400), renewed_at=ago(30), is_late=True, runs=0
        ),
    ),
    running={"orders": 64, "fresh": 1},
    nodes=(
        NodeTimes(pipeline="orders", node="charge", count=12345, p50=0.01, longest=2.5),
        NodeTimes(pipeline="orders", node="check", count=12345, p50=0.0002, longest=0.001),
    ),
    failures=(a_failure(3), a_failure(70)),
    dead=7,
    unrouted=0,
    account=Balance(accepted=100, final=35, open=65, removed=0),
)


def lines_of(screen: RenderableType, *, width: int, height: int = 1000) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(screen)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 160])
def test_it_looks_like_this(width: int) -> None:
    expected = (EXPECTED / f"top-{width}.txt").read_text(encoding="utf-8").splitlines()
    assert lines_of(Screen(seen=SEEN, took=0.012), width=width) == expected


def test_in_a_terminal_everything_has_a_place_and_what_is_cut_says_so() -> None:
    busy = replace(
        SEEN,
        workers=SEEN.workers * 10,
        nodes=SEEN.nodes * 10,
        failures=tuple(map(a_failure, range(1, 20))),
    )
    lines = lines_of(WholeTerminal(Screen(seen=busy, took=0.012, pause=2.0)), width=80, height=24)
    assert len(lines) == 24
    assert max(map(cell_len, lines)) <= 80
    assert "every 2.0 s" in lines[0]
    assert "q ends it" in lines[0]
    headings = [
        line.split()[0] for line in lines if line.startswith(("queue", "worker ", "pipeline", "slow", "newest"))
    ]
    assert headings == ["queue", "worker", "pipeline,", "slowest", "newest"]
    assert any(line.startswith("worker (3 of 30)") for line in lines)
    assert any(line.startswith("slowest nodes (3 of 20)") for line in lines)
    assert "bank" in lines[-1] or "…" in lines[-1]


@pytest.mark.parametrize("height", [1, 6, 10])
def test_a_terminal_that_is_too_small_shows_the_upper_part(height: int) -> None:
    lines = lines_of(WholeTerminal(Screen(seen=SEEN, took=0.012, pause=2.0)), width=80, height=height)
    assert len(lines) == height
    assert lines[0].startswith("throughline top")


def test_while_the_database_is_away_it_says_so_above_what_was_last_seen() -> None:
    screen = Screen(seen=SEEN, took=0.01, pause=2.0, trouble="Connect call failed", since=datetime.now(UTC))
    lines = lines_of(screen, width=160)
    assert lines[1].startswith("no answer from PostgreSQL for ")
    assert lines[1].endswith(": Connect call failed; below is what was last seen")
    assert any(line.startswith("default") for line in lines)
    never = lines_of(Screen(pause=2.0, trouble="Connect call failed", since=datetime.now(UTC)), width=160)
    assert len(never) == 2
    assert never[1].endswith(": Connect call failed")


def test_numbers_that_are_not_the_whole_truth_say_so() -> None:
    cut = replace(
        SEEN,
        dead=COUNTED,
        lately=replace(SEEN.lately, reach=4.1),
        account=Balance(accepted=101, final=35, open=65, removed=0),
    )
    lines = lines_of(Screen(seen=cut, took=0.012), width=80)
    assert "open 65   dead 10,000+   unrouted 0   accounting difference 1" in lines
    assert any(line.startswith("pipeline, last 4.1 s") for line in lines)


def test_with_no_work_at_all_there_are_no_lists() -> None:
    nothing = Rates(accepted=0.0, completed=0.0, failed=0.0, retried=0.0)
    idle = replace(
        SEEN,
        lately=Lately(last=nothing, minute=nothing, reach=300.0, ended=()),
        queues=(),
        workers=(),
        running={},
        nodes=(),
        failures=(),
    )
    lines = lines_of(Screen(seen=idle, took=0.012), width=80)
    assert len(lines) == 6
    assert lines[2].split() == ["last", "2.0", "s", "0", "0", "0", "0"]
    assert lines[-1] == "no worker is alive"


@pytest.mark.parametrize(
    ("wanted", "room", "given"),
    [
        ([2, 10, 10], 12, [2, 5, 5]),
        ([2, 10, 10], 100, [2, 10, 10]),
        ([2, 10, 10], 0, [1, 1, 1]),
        ([1, 1, 20], 12, [1, 1, 10]),
        ([], 5, []),
    ],
)
def test_lists_share_the_room_fairly(wanted: list[int], room: int, given: list[int]) -> None:
    assert share(wanted, room) == given
