from typing import Any

import pytest
from pydantic import BaseModel, Field

from events import LimitKey
from pipelines import EventSchema, Limit, Node, Pipeline, PipelineRegistry, Rate, TaskContext
from pipelines.description import LimitDescription
from pipelines.errors import (
    InvalidLimitError,
    InvalidNameError,
    InvalidPathError,
    InvalidPriorityError,
    InvalidTimeoutError,
    PipelineError,
)
from pipelines.paths import Attributes


class Customer(BaseModel):
    id: int | None = None
    tags: list[str] = Field(default_factory=list)


class Order(EventSchema):
    customer: Customer = Customer()


class Start(Node[int]):
    async def run(self, ctx: TaskContext[Order]) -> int:
        return ctx.attempt


def make(**changes: Any) -> Pipeline[Any]:
    values: dict[str, Any] = {"name": "orders", "types": ("t.a",), "schema": Order, "start": Start}
    return Pipeline(**(values | changes))


def attributes(data: Any) -> Attributes:
    return Attributes("t.a", "shop", None, data)


@pytest.mark.parametrize(
    ("error", "said", "changes"),
    [
        (InvalidLimitError, "give a tuple", {"limits": Limit(name="a", concurrency=1)}),
        (InvalidLimitError, "limits nothing", {"limits": (Limit(name="a"),)}),
        (InvalidLimitError, "concurrency is 0", {"limits": (Limit(name="a", concurrency=0),)}),
        (InvalidLimitError, "rate is", {"limits": (Limit(name="a", rate=Rate(starts=1, per=0)),)}),
        (InvalidLimitError, "stands there twice", {"limits": (Limit(name="a", concurrency=1),) * 2}),
        (InvalidNameError, "a limit", {"limits": (Limit(name="A b", concurrency=1),)}),
        (InvalidPathError, "has no 'client'", {"limits": (Limit(name="a", by="data.client", concurrency=1),)}),
        (InvalidPathError, "'customer'", {"limits": (Limit(name="a", by="customer", concurrency=1),)}),
        (InvalidPriorityError, "from 0 to 9", {"priority": 10}),
        (InvalidPriorityError, "from 0 to 9", {"priority": -1}),
        (InvalidPriorityError, "from 0 to 9", {"priority": "high"}),
        (InvalidTimeoutError, "ttl", {"ttl": 0}),
        (InvalidPathError, "unique", {"unique": "data.customer.name"}),
    ],
)
def test_a_policy_that_can_not_be_is_refused_naming_the_pipeline(
    error: type[PipelineError], said: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(error, match=said) as caught:
        make(**changes)
    assert "pipeline 'orders'" in str(caught.value)


def test_a_limit_has_a_key_for_each_value_and_one_for_events_without() -> None:
    limit = Limit(name="customers", by="data.customer.id", concurrency=2, rate=Rate(starts=5, per=60))
    wanted = {"name": "customers", "concurrency": 2, "rate": 5, "per": 60}
    assert limit.key_of(attributes({"customer": {"id": 7}})) == LimitKey(key="7", **wanted)
    assert limit.key_of(attributes({"customer": {}})) == LimitKey(key="", **wanted)
    assert Limit(name="all", concurrency=1).key_of(attributes({})) == LimitKey(name="all", key="", concurrency=1)


def test_limits_of_one_name_are_declared_alike_wherever_they_stand() -> None:
    by_source = Limit(name="vendor", by="source", concurrency=3)
    by_customer = Limit(name="vendor", by="data.customer.id", concurrency=3)
    PipelineRegistry([make(limits=(by_source,)), make(name="others", limits=(by_customer,))])
    with pytest.raises(InvalidLimitError, match=r"pipeline 'others': limit 'vendor'.*pipeline 'orders'"):
        PipelineRegistry(
            [make(limits=(by_source,)), make(name="others", limits=(Limit(name="vendor", concurrency=4),))]
        )


def test_a_node_and_its_pipeline_declare_one_limit_alike() -> None:
    class Ask(Start):
        limits = (Limit(name="vendor", concurrency=2),)

    PipelineRegistry([make(start=Ask, limits=(Limit(name="vendor", concurrency=2),))])
    with pytest.raises(InvalidLimitError, match=r"pipeline 'orders', node 'ask': limit 'vendor'"):
        PipelineRegistry([make(start=Ask, limits=(Limit(name="vendor", concurrency=3),))])


def test_a_description_tells_what_is_declared() -> None:
    limits = (Limit(name="vendor", by="source", rate=Rate(starts=5, per=60)),)
    told = make(limits=limits, priority=3, ttl=60.0, unique="data.customer.id").describe()
    assert told.limits == (LimitDescription(name="vendor", by="source", concurrency=None, starts=5, per=60),)
    assert (told.priority, told.ttl, told.unique) == (3, 60.0, "data.customer.id")
