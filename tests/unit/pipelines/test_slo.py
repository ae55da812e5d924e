from typing import Any

import pytest
from pydantic import BaseModel

from pipelines import EventSchema, Node, Pipeline, Slo, Target, TaskContext
from pipelines.errors import InvalidSloError


class Nothing(EventSchema):
    pass


class Done(BaseModel):
    pass


class Do(Node[Done]):
    async def run(self, _: TaskContext[Nothing]) -> Done:
        return Done()


def pipeline(slo: Any, **changes: Any) -> Pipeline[Nothing]:
    return Pipeline(name="shop", types=("shop.order",), schema=Nothing, start=Do, slo=slo, **changes)


def test_without_a_word_a_pipeline_promises_something() -> None:
    made = Pipeline(name="shop", types=("shop.order",), schema=Nothing, start=Do)
    assert made.slo == Slo(queueing=Target(within=30.0, share=0.99), execution=Target(within=None, share=0.99))


def test_it_may_promise_nothing_or_one_thing() -> None:
    assert pipeline(None).slo is None
    assert pipeline(Slo(queueing=None, execution=Target(within=300.0))).slo is not None
    assert pipeline(Slo(queueing=Target(within=1, share=0.999), execution=None)).slo is not None


@pytest.mark.parametrize(
    ("slo", "said"),
    [
        (0.99, r"slo is 0\.99; give a Slo"),
        (Slo(queueing=0.99), r"slo: queueing is 0\.99; give a Target"),  # type: ignore[arg-type]  # the error is the point
        (Slo(execution=Target(share=1.0)), r"slo: execution has share 1\.0; give one above 0 and below 1"),
        (Slo(execution=Target(share=0)), "slo: execution has share 0;"),
        (Slo(execution=Target(share=True)), "slo: execution has share True;"),
        (Slo(queueing=Target(within=30, share=99)), "slo: queueing has share 99;"),
        (Slo(queueing=Target()), "slo: queueing has no within; give the seconds from due to claimed"),
        (Slo(queueing=Target(within=0)), "slo: queueing has within 0; give seconds above 0"),
        (Slo(execution=Target(within=float("inf"))), "slo: execution has within inf; give seconds above 0"),
        (Slo(execution=Target(within=61)), "slo: execution has within 61, but no try takes longer .* 60"),
    ],
)
def test_a_target_that_makes_no_sense_names_the_pipeline_and_the_mend(slo: Any, said: str) -> None:
    with pytest.raises(InvalidSloError, match=rf"pipeline 'shop': {said}"):
        pipeline(slo, timeout=60)
