from datetime import UTC, datetime
from typing import Any

import pytest

from api.problems import Problem, ProblemType
from api.replaying import _begin
from events import JsonValue, NodeStatus, RunStatus, new_id
from pipelines import EventSchema, Node, Pipeline, TaskContext
from storage.records import NodeResult, RunRecord


class First(Node[int]):
    async def run(self, _: TaskContext[EventSchema]) -> int:
        return 1


class Second(First):
    pass


class Third(First):
    pass


PIPELINE: Pipeline[Any] = Pipeline(
    name="p", version=2, types=("t",), schema=EventSchema, start=First, edges={First: Second, Second: Third}
)


def result(node: str, output: JsonValue = 1) -> NodeResult:
    return NodeResult(
        node=node,
        item=0,
        attempt=1,
        status=NodeStatus.SUCCEEDED,
        output=output,
        error=None,
        started_at=datetime.now(UTC),
        duration_seconds=0.0,
        span_id=None,
    )


def run_of(*nodes: NodeResult) -> RunRecord:
    now = datetime.now(UTC)
    return RunRecord(
        run_id=new_id(),
        pipeline="p",
        pipeline_version=1,
        queue="default",
        status=RunStatus.SUCCEEDED,
        reason=None,
        available_at=now,
        attempt=1,
        errors=0,
        deaths=0,
        failure_kind=None,
        error=None,
        created_at=now,
        started_at=now,
        finished_at=now,
        attempts=(),
        nodes=nodes,
    )


def test_a_replay_from_a_node_keeps_what_was_done_before_it_where_that_fits_the_newest_version() -> None:
    begin = _begin(run_of(result("first"), result("gone"), result("third")), PIPELINE, "second")
    assert begin is not None
    assert (begin.node, begin.kept) == ("second", {"first"})


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([result("first", "one")], "node 'first' is done, but its output does not come back as int"),
        ([result("second")], "node 'second' is done, but 'first', which comes first, is not"),
    ],
)
def test_what_no_longer_fits_is_refused_before_a_run_is_made(nodes: list[NodeResult], reason: str) -> None:
    with pytest.raises(Problem) as caught:
        _begin(run_of(*nodes), PIPELINE, "third")
    assert caught.value.type is ProblemType.NOT_REPLAYABLE
    for word in ("of version 1", "does not fit version 2", reason, "Replay the whole run"):
        assert word in str(caught.value.detail)
