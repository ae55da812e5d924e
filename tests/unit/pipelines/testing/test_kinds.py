"""Runs through nodes that are more than one call: side by side, for many items, inner pipelines, waits and limits."""

from datetime import timedelta
from typing import Any

import pytest

from events import NodeStatus, Permanent, QueueReason
from pipelines import Pipeline, Stop
from pipelines.testing import ScriptError, event, in_turn, run, run_node
from tests.support.desk import DESK, WIDE, Ask, Close, Enrich, Lengths, Look, Open, Reply, Rest, Score, Ticket

DAY = 86_400.0


OPENED = event("desk.opened", {"ticket_id": "7", "pages": ["a", "bb", "ccc"]})


def answer(ticket_id: str, text: str = "thanks") -> Any:
    return event("desk.answered", {"ticket_id": ticket_id, "text": text})


def test_three_days_pass_at_once() -> None:
    result = run(DESK, OPENED)
    result.assert_succeeded()
    result.assert_path(Open, Rest, Reply, Close)
    assert result.duration == 3 * DAY
    assert result.outputs["open"] == "opened 7 at 01 00:00"
    assert result.output(Close) == "closed at 04 00:00"
    assert [(wait.node, wait.reason, wait.began, wait.ended) for wait in result.waits] == [
        ("rest", QueueReason.SLEEPING, 0.0, DAY),
        ("reply", QueueReason.WAITING, DAY, 3 * DAY),
    ]
    assert [attempt.outcome for attempt in result.attempts] == ["suspended", "suspended", "succeeded"]
    assert "reply: desk.answered with data.ticket_id = '7' did not come within 2 d 0:00:00" in str(result)


@pytest.mark.parametrize(
    ("arriving", "closed", "days"),
    [
        ([answer("7")], "thanks at 02 00:00", 1.0),
        ([(timedelta(days=2), answer("7"))], "thanks at 03 00:00", 2.0),
        ([(3 * DAY, answer("7", "late")), (2 * DAY, answer("7", "early"))], "early at 03 00:00", 2.0),
        ([(3 * DAY + 1, answer("7"))], "closed at 04 00:00", 3.0),
        ([answer("8"), event("desk.closed", {"ticket_id": "7"})], "closed at 04 00:00", 3.0),
    ],
)
def test_arriving_events_end_a_wait_that_they_match_in_time(arriving: Any, closed: str, days: float) -> None:
    result = run(DESK, OPENED, arriving=arriving)
    assert result.output(Close) == closed
    assert result.duration == days * DAY
    taken = [wait.event for wait in result.waits if wait.event is not None]
    assert len(taken) + len(result.left) == len(arriving)


def test_an_event_that_ended_no_wait_is_told() -> None:
    with pytest.raises(AssertionError, match=r"came, and ended no wait: desk\.answered"):
        run(DESK, OPENED, arriving=[answer("8")]).assert_path(Open)


def test_an_arriving_event_of_another_shape_fails_as_in_production() -> None:
    run(DESK, OPENED, arriving=[event("desk.answered", {"ticket_id": "7", "text": 1})]).assert_failed(node=Reply)


def test_what_is_made_of_others_stands_before_them_in_the_path() -> None:
    result = run(WIDE, OPENED)
    result.assert_succeeded()
    result.assert_path(Enrich, "look", Score, Lengths, Ask, "ask.look")
    assert result.output(Lengths) == [1, 2, 3]
    assert result.output(Ask) == "looked for 7/6"
    assert result.outputs["ask.look"] == "looked for 7/6"
    assert result.output(Enrich).succeeded == ["look", "score"]


def test_limits_admit_at_once() -> None:
    result = run(WIDE, OPENED)
    assert [(wait.node, wait.reason, wait.ended - wait.began) for wait in result.waits] == [
        ("enrich", QueueReason.LIMITED, 0.0)
    ]
    assert "enrich: admitted by scores" in str(result)
    assert result.duration == 0.0


def test_branches_that_are_done_are_not_called_again() -> None:
    result = run(
        WIDE, OPENED, script={"look": in_turn(ConnectionError(), ConnectionError(), "found"), Score: in_turn(9)}
    )
    result.assert_succeeded()
    assert result.output(Score) == 9
    assert result.duration == 4.0 + 8.0


def test_several_branches_that_fail_are_each_judged() -> None:
    busy = in_turn(ConnectionError(), 9)
    result = run(WIDE, OPENED, script={"look": in_turn(ConnectionError(), "found"), Score: busy})
    result.assert_succeeded()
    assert result.errors[0].nodes == ("look", "score")
    result = run(WIDE, OPENED, script={Score: Permanent("no"), "look": in_turn("found")})
    result.assert_failed(node=Score, error=Permanent)


def test_items_are_scripted_by_a_list_or_a_function() -> None:
    assert run(WIDE, OPENED, script={Lengths: [7, 8, 9]}).output(Lengths) == [7, 8, 9]
    result = run(WIDE, OPENED, script={Lengths: lambda ctx, item: ctx.item * 10 + len(item)})
    assert result.output(Lengths) == [11, 22, 33]
    result = run(WIDE, OPENED, script={Lengths: in_turn(ConnectionError(), [7, 8, 9])})
    assert result.output(Lengths) == [7, 8, 9]
    assert len(result.errors) == 1
    empty = event("desk.opened", {"ticket_id": "7"})
    assert run(WIDE, empty, script={Lengths: [1]}).output(Lengths) == []


def test_inner_nodes_are_scripted_by_their_names_or_wherever_their_class_stands() -> None:
    assert run(WIDE, OPENED, script={"ask.look": "inner"}).outputs["look"] == "looked for 7"
    result = run(WIDE, OPENED, script={Look: "both"})
    assert (result.outputs["look"], result.outputs["ask.look"]) == ("both", "both")
    with pytest.raises(ScriptError, match=r"has that node in several places; name one: look, ask\.look"):
        result.output(Look)


@pytest.mark.parametrize(
    ("pipeline", "node", "said"),
    [
        (WIDE, Enrich, "'enrich' can't be scripted: it is made of others; script these: look, score"),
        (WIDE, Ask, "'ask' can't be scripted: it is made of others; script these: ask.look"),
        (DESK, Reply, "'reply' can't be scripted: it waits for an event; let that come: arriving=[event(…)]"),
        (DESK, Rest, "'rest' can't be scripted: it sleeps on the fake clock, and needs no script"),
        (WIDE, Lengths, "'lengths' does its work for many items; give a list with the output for each"),
    ],
)
def test_what_has_no_code_of_its_own_is_not_scripted(pipeline: Pipeline[Any], node: Any, said: str) -> None:
    with pytest.raises(ScriptError) as raised:
        run(pipeline, OPENED, script={node: None})
    assert str(raised.value) == said


def test_outputs_for_fewer_items_than_there_are_is_an_error() -> None:
    with pytest.raises(ScriptError, match="'lengths' has outputs for 2 items, but comes to item 3"):
        run(WIDE, OPENED, script={Lengths: [1, 2]})


def test_a_node_may_stop_the_run() -> None:
    result = run(DESK, OPENED, script={Open: Stop("a duplicate")})
    result.assert_succeeded()
    result.assert_path(Open)
    assert result.stopped == "a duplicate"
    assert result.skipped == ("rest", "reply", "close")
    assert result.outputs == {}
    assert result.life.records[0].status is NodeStatus.STOPPED


def test_the_items_of_a_node_are_called_one_after_the_other() -> None:
    assert run_node(Lengths, Ticket(ticket_id="1", pages=("a", "bbbb"))) == [1, 4]
    with pytest.raises(ScriptError, match="'reply' has no code of its own to call"):
        run_node(Reply, Ticket(ticket_id="1"))
