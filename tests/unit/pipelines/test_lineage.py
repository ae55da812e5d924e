import pytest

from pipelines import EventSchema, Node, Pipeline, Route, RouterNode, TaskContext
from pipelines.lineage import nodes_before


class _Step(Node[None]):
    """Does nothing."""

    async def run(self, ctx: TaskContext[EventSchema]) -> None:
        """Do nothing."""


class Begin(_Step):
    """Comes first."""


class Left(_Step):
    """One way."""


class Right(_Step):
    """The other way."""


class Join(_Step):
    """Where the ways meet."""


class Last(_Step):
    """Ends it."""


class Fork(RouterNode):
    """Parts the ways."""

    routes = (Route(to=Left, when=lambda _: True),)
    fallback = Right


PIPELINE = Pipeline(
    name="forked",
    types=("t",),
    schema=EventSchema,
    start=Begin,
    edges={Begin: Fork, Left: Join, Right: Join, Join: Last},
)


@pytest.mark.parametrize(
    ("node", "before"),
    [
        ("begin", set()),
        ("fork", {"begin"}),
        ("left", {"begin", "fork"}),
        ("join", {"begin", "fork", "left", "right"}),
        ("last", {"begin", "fork", "left", "right", "join"}),
    ],
)
def test_before_a_node_are_those_from_which_ways_lead_to_it(node: str, before: set[str]) -> None:
    assert nodes_before(PIPELINE.steps, node) == before


def test_a_node_that_the_pipeline_has_not_is_an_error() -> None:
    with pytest.raises(KeyError):
        nodes_before(PIPELINE.steps, "nowhere")
