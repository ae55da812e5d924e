from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from events import RunStatus
from observability.metrics import Metrics
from pipelines import EventSchema, Node, Pipeline, Slo, Target, TaskContext
from worker.objectives import Objectives


class Nothing(EventSchema):
    pass


class Done(BaseModel):
    pass


class Do(Node[Done]):
    async def run(self, _: TaskContext[Nothing]) -> Done:
        return Done()


def pipeline(slo: Slo | None) -> Pipeline[Any]:
    return Pipeline(name="shop", types=("shop.order",), schema=Nothing, start=Do, slo=slo)


def counted(registry: CollectorRegistry, sli: str) -> tuple[float | None, float | None]:
    """The good and the bad."""
    good, bad = (
        registry.get_sample_value("throughline_slo_events_total", {"sli": sli, "pipeline": "shop", "good": good})
        for good in ("true", "false")
    )
    return good, bad


def test_what_a_pipeline_promises_is_there_from_the_start() -> None:
    registry = CollectorRegistry()
    Objectives(Metrics(registry), pipelines=[pipeline(Slo(execution=None))])
    assert (counted(registry, "queueing"), counted(registry, "execution")) == ((0, 0), (None, None))


def test_a_claim_is_good_up_to_its_target() -> None:
    registry, shop = CollectorRegistry(), pipeline(Slo(queueing=Target(within=5.0)))
    objectives = Objectives(Metrics(registry))
    for waited in (0.0, 5.0, 5.001):
        objectives.claimed(shop, waited=waited)
    assert (counted(registry, "queueing"), counted(registry, "execution")) == ((2, 1), (None, None))


@pytest.mark.parametrize(
    ("status", "took", "counts"),
    [
        (RunStatus.SUCCEEDED, 2.0, (1, 0)),
        (RunStatus.SUCCEEDED, 2.001, (0, 1)),
        (RunStatus.FAILED, 0.1, (0, 1)),
        (RunStatus.CANCELLED, 0.1, (0, 0)),
        (RunStatus.QUEUED, 0.1, (0, 0)),
    ],
)
def test_a_run_that_ended_is_good_if_it_succeeded_in_time(
    status: RunStatus, took: float, counts: tuple[int, int]
) -> None:
    registry, shop = CollectorRegistry(), pipeline(Slo(execution=Target(within=2.0)))
    Objectives(Metrics(registry), pipelines=[shop]).ended(shop, status, took=took)
    assert counted(registry, "execution") == counts


def test_success_alone_counts_where_no_time_is_promised() -> None:
    registry, shop = CollectorRegistry(), pipeline(Slo())
    Objectives(Metrics(registry)).ended(shop, RunStatus.SUCCEEDED, took=10_000.0)
    assert counted(registry, "execution") == (1, 0)


@pytest.mark.parametrize("slo", [None, Slo(queueing=None, execution=None)])
def test_who_promises_nothing_is_counted_nowhere(slo: Slo | None) -> None:
    registry, shop = CollectorRegistry(), pipeline(slo)
    objectives = Objectives(Metrics(registry), pipelines=[shop])
    objectives.claimed(shop, waited=1.0)
    objectives.ended(shop, RunStatus.FAILED, took=1.0)
    assert (counted(registry, "queueing"), counted(registry, "execution")) == ((None, None), (None, None))
