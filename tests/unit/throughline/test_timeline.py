from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from throughline.timeline import event_lines, run_lines
from throughline.timeline.axis import Axis
from throughline.timeline.steps import Kind

ZERO = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EXPECTED = Path(__file__).parent / "expected"
NOW = ZERO + timedelta(days=1)
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FIRST, SECOND = "01a2132b-0000-7000-8000-000000000001", "01a2132b-0000-7000-8000-000000000002"


def at(seconds: float) -> str:
    return (ZERO + timedelta(seconds=seconds)).isoformat()


def an_attempt(number: int, begin: float, end: float | None, outcome: str | None, **more: Any) -> dict[str, Any]:
    return {
        "attempt": number,
        "worker": f"worker-{number}@host#ab12cd34",
        "task_id": f"task-{number}",
        "started_at": at(begin),
        "finished_at": None if end is None else at(end),
        "outcome": outcome,
        "error": None,
        "links": {"task": None},
    } | more


def a_node(name: str, attempt: int, begin: float, took: float, **more: Any) -> dict[str, Any]:
    return {
        "node": name,
        "item": 0,
        "attempt": attempt,
        "status": "succeeded",
        "error": None,
        "started_at": at(begin),
        "duration": took,
    } | more


def a_run(run_id: str, **more: Any) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "pipeline": "orders",
        "pipeline_version": 3,
        "queue": "default",
        "status": "succeeded",
        "reason": None,
        "available_at": at(0),
        "created_at": at(0),
        "finished_at": None,
        "failure": None,
        "error": None,
        "cancel_requested_at": None,
        "cancel_reason": None,
        "replay_of": None,
        "replay_from": None,
        "trace_id": TRACE,
        "attempts": [],
        "nodes": [],
        "links": {"trace": None},
    } | more


def an_event(*runs: dict[str, Any], status: str = "succeeded") -> dict[str, Any]:
    return {
        "event_id": "01a2132b-0000-7000-8000-000000000000",
        "id": "7",
        "type": "shop.order_placed",
        "source": "shop",
        "status": status,
        "received_at": at(0),
        "trace_id": TRACE,
        "links": {"trace": f"http://traces/{TRACE}"},
        "runs": list(runs),
    }


ERROR = {"type": "RuntimeError", "node": "charge", "message": "no answer\nfrom the bank \x1b[31m"}
LIVELY = a_run(
    FIRST,
    available_at=at(6),
    finished_at=at(10),
    attempts=[
        an_attempt(1, 1, 3, "lost", error={"type": "ProcessDied", "message": "its process was killed by SIGKILL"}),
        an_attempt(2, 3, 4, "retried", error=ERROR),
        an_attempt(3, 8, 10, "succeeded"),
    ],
    nodes=[
        a_node("check", 1, 1, 1.5),
        a_node("charge", 3, 8, 2),
        a_node("gift", 3, 10, 0, status="skipped"),
    ],
)
REPLAY = a_run(
    SECOND,
    created_at=at(7200),
    available_at=at(7200),
    finished_at=at(7205),
    replay_of=FIRST,
    replay_from="charge",
    trace_id="5" * 32,
    links={"trace": "http://traces/5"},
    attempts=[an_attempt(1, 7200, 7205, "succeeded")],
    nodes=[a_node("check", 0, 1, 1.5), a_node("charge", 1, 7200, 5)],
)


def lines_of(shown: dict[str, Any], *, width: int = 80, of_run: bool = False, now: datetime = NOW) -> list[str]:
    lines = (run_lines if of_run else event_lines)(shown, width=width, now=now)
    return [line.plain for line in lines]


def bars_of(run: dict[str, Any], *, now: datetime = NOW) -> dict[str, str]:
    """The last column of each step of a run, by its label."""
    title, _, *steps = lines_of(an_event(run), now=now)[8:]
    place = title.index("0")
    return {line[:12].strip(): line[place:] for line in steps if line[:6].strip()}


@pytest.mark.parametrize("width", [80, 160])
def test_an_event_looks_like_this(width: int) -> None:
    expected = (EXPECTED / f"trace-{width}.txt").read_text(encoding="utf-8").splitlines()
    assert lines_of(an_event(LIVELY, REPLAY), width=width) == expected


@pytest.mark.parametrize("width", [80, 100, 160, 250])
def test_no_line_of_the_waterfall_is_wider_than_the_terminal(width: int) -> None:
    long = a_run(
        FIRST,
        status="failed",
        failure={"kind": "poisoned"},
        error={"type": "Poisoned", "message": "why " * 100},
        finished_at=at(10),
        attempts=[an_attempt(1, 0, 10, "failed", error={"type": "Error", "message": "long " * 100})],
        nodes=[a_node("a_name_that_is_much_too_long_for_any_terminal" * 3, 1, 1, 1, error=ERROR, status="failed")],
    )
    lines = lines_of(an_event(long, LIVELY, status="failed"), width=width)
    assert max(map(cell_len, lines[8:])) <= width
    assert any(line.endswith("…") for line in lines)


def test_wide_letters_keep_the_columns_apart() -> None:
    wide, plain = (
        a_run(FIRST, finished_at=at(2), attempts=[an_attempt(1, 0, 2, "succeeded")], nodes=[a_node(name, 1, 1, 1)])
        for name in ("検査", "abcd")
    )
    (row,) = (line for line in lines_of(an_event(wide)) if "検査" in line)
    (other,) = (line for line in lines_of(an_event(plain)) if "abcd" in line)
    assert (cell_len(row), row.split()[1:]) == (cell_len(other), other.split()[1:])


def test_what_goes_on_reaches_until_now_and_says_so() -> None:
    running = a_run(FIRST, status="running", attempts=[an_attempt(1, 1, None, None)])
    assert bars_of(running, now=ZERO + timedelta(seconds=4))["attempt 1"].rstrip().endswith("─>")

    delayed = a_run(
        FIRST,
        status="queued",
        reason="retry",
        available_at=at(60),
        attempts=[an_attempt(1, 0, 1, "retried", error=ERROR)],
    )
    lines = lines_of(an_event(delayed), now=ZERO + timedelta(seconds=21))
    assert lines[-2].split()[:4] == ["backoff", "+1.0", "s", "20.0"]
    assert lines[-2].endswith("·>")
    assert lines[-1] == "  waits in queue default: retry, due in 39.0 s"
    lines = lines_of(an_event(delayed), now=ZERO + timedelta(seconds=70))
    assert [line.split()[0] for line in lines[-3:]] == ["backoff", "queued", "waits"]
    assert not lines[-3].endswith(">")
    assert lines[-2].endswith("·>")


def test_a_wait_before_an_earlier_attempt_is_not_divided_since_when_it_was_due_is_not_kept() -> None:
    run = a_run(
        FIRST,
        status="queued",
        reason="retry",
        available_at=at(60),
        attempts=[an_attempt(1, 0, 1, "retried", error=ERROR), an_attempt(2, 5, 6, "retried", error=ERROR)],
    )
    labels = [line.split("  ")[1] for line in lines_of(an_event(run))[10:] if line[2] != " "]
    assert labels == ["queued", "attempt 1", "backoff and queued", "attempt 2", "backoff", "queued", *labels[6:]]


def test_an_error_is_told_once_and_at_its_node() -> None:
    failed = a_run(
        FIRST,
        status="failed",
        failure={"kind": "error"},
        error=ERROR,
        finished_at=at(2),
        attempts=[an_attempt(1, 0, 2, "failed", error=ERROR)],
        nodes=[a_node("charge", 1, 1, 1, status="failed", error=ERROR)],
    )
    lines = lines_of(an_event(failed, status="failed"))
    assert sum("no answer from the bank" in line for line in lines) == 1
    assert "no answer" in lines[-1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"cancel_requested_at": at(3), "cancel_reason": "sent\ntwice", "finished_at": at(4)},
            "  cancel asked for at +3.0 s: sent twice",
        ),
        ({"cancel_reason": "enough", "finished_at": at(4)}, "  cancelled: enough"),
    ],
)
def test_a_cancelled_run_says_why(more: dict[str, Any], said: str) -> None:
    assert said in lines_of(an_event(a_run(FIRST, status="cancelled", **more), status="cancelled"))


def test_an_event_without_runs_ends_with_what_it_is() -> None:
    lines = lines_of(an_event(status="unrouted"))
    assert lines[0].endswith("unrouted")
    assert len(lines) == 7


def test_a_run_alone_names_its_event_and_what_repeats_it() -> None:
    run = LIVELY | {"event_id": SECOND, "type": "shop.order_placed", "replayed_by": SECOND}
    lines = lines_of(run, of_run=True)
    assert lines[0] == f"event     {SECOND}"
    assert lines[-1] == f"  replayed by {SECOND}"


def test_idle_time_between_runs_is_cut_out_and_other_waits_are_not() -> None:
    axis = Axis([(0, 5), (5, 10), (1000, 1010)], columns=21)
    assert axis.breaks == [10]
    assert axis.bar(Kind.NODE, 0, 10) == "━" * 10 + "/" + " " * 10
    assert axis.bar(Kind.ATTEMPT, 1000, 1010) == " " * 10 + "/" + "─" * 10
    assert axis.bar(Kind.WAIT, 10, 10) == " " * 9 + "·/" + " " * 10
    assert Axis([(0, 1), (1.5, 3)], columns=6).bar(Kind.NODE, 0, 3) == "━" * 6
    assert Axis([(0, 0)], columns=4).bar(Kind.NODE, 0, 0, is_open=True) == ">   "


def a_wait(begin: float, until: float, ended: float | None, **more: Any) -> dict[str, Any]:
    return {
        "node": "pay",
        "type": "order.paid",
        "path": "data.order",
        "key": "17",
        "began_at": at(begin),
        "until": at(until),
        "ended_at": None if ended is None else at(ended),
        "event_id": None,
    } | more


def test_a_run_that_waits_says_for_what_and_until_when() -> None:
    run = a_run(
        FIRST,
        status="queued",
        reason="waiting",
        available_at=at(7200),
        attempts=[an_attempt(1, 0, 1, "suspended")],
        waits=[a_wait(1, 7200, None)],
    )
    lines = lines_of(an_event(run, status="queued"), now=ZERO + timedelta(seconds=3600))
    what = "waits in pay for order.paid with data.order = 17"
    assert lines[-2:] == [f"  {what}", "  until 2026-01-02T05:04:05Z, for 1 h more"]
    (row,) = (line for line in lines if line.startswith("  waiting "))
    assert row.split()[1] == "+1.0"
    assert row.endswith(">")
    assert f"      {what}" in lines


@pytest.mark.parametrize(
    ("wait", "label", "told"),
    [
        (a_wait(1, 100, 30, event_id=SECOND), "waiting", f"ended by event {SECOND}"),
        (a_wait(1, 30, 31), "waiting", "the time was over"),
        (a_wait(1, 30, 31, type=None, path=None, key=None), "sleeping", "sleeps in pay"),
    ],
)
def test_a_wait_that_is_over_says_what_ended_it_and_what_came_then_was_the_queue(
    wait: dict[str, Any], label: str, told: str
) -> None:
    attempts = [an_attempt(1, 0, 1, "suspended"), an_attempt(2, 32, 33, "succeeded")]
    run = a_run(FIRST, attempts=attempts, waits=[wait], finished_at=at(33), available_at=at(30))
    lines = lines_of(an_event(run))
    (waited,) = (line for line in lines if line.startswith(f"  {label} "))
    (queued,) = (line for line in lines[lines.index(waited) :] if line.startswith("  queued "))
    assert waited.split()[3:5] == ["29.0", "s"]
    assert queued.split()[3:5] == ["2.0", "s"]
    assert any(told in line for line in lines)


def test_an_event_names_the_waits_that_it_ended() -> None:
    event = an_event(status="awaited") | {"ended_waits": [{"run_id": FIRST, "node": "pay", "ended_at": at(1)}]}
    assert f"ended     the wait of run {FIRST} in pay" in lines_of(event)
