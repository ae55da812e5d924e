"""What the releases are made of; not a release."""

from events import JsonValue
from pipelines import ConcurrentNode, MapNode, Node, RetryPolicy, TaskContext
from tests.support.flows import Called, Probe, Refuse, tell

PATIENT = RetryPolicy(max_attempts=5, base=0.0)


class UnitProbe(Probe):
    """The data as version 2 takes it: with a unit."""

    unit: str


def add_unit(data: JsonValue) -> JsonValue:
    """Bring version 1's data up to version 2: it was in kilograms."""
    assert isinstance(data, dict)
    data["unit"] = "kg"
    return data


class Check(Node[Called]):
    """Came with version 2."""

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell."""
        return tell(ctx)


class Measure(Node[str]):
    """Came with version 3 and reads what its data has since version 2."""

    async def run(self, ctx: TaskContext[UnitProbe]) -> str:
        """Tell the unit."""
        tell(ctx)
        return ctx.data.unit


class Opening(Node[Called]):
    """``First`` under another name: to a run that has done ``first`` it is another node."""

    effects = True

    async def run(self, ctx: TaskContext[Probe]) -> Called:
        """Tell."""
        return tell(ctx)


class Both(ConcurrentNode):
    """One branch does well, the other is given up."""

    nodes = (Refuse, Check)
    limit = 1
    keep_failures = True


class Each(MapNode[int, int]):
    """Tells of each of three items."""

    limit = 1

    def items(self, _: TaskContext[Probe]) -> list[int]:
        """Count them."""
        return [1, 2, 3]

    async def each(self, ctx: TaskContext[Probe], item: int) -> int:
        """Tell."""
        tell(ctx)
        return item
