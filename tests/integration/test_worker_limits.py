"""Limits with real workers and a real relay, measured by what the nodes themselves have told."""

import signal
from pathlib import Path

from events import AttemptOutcome, RunStatus
from tests.support.limited_flows import greatest_overlap, open_visits
from tests.support.working import Sent, Workshop, until, workshop

FLOWS = {"THROUGHLINE_PIPELINES_MODULES": '["tests.support.limited_flows"]', "THROUGHLINE_RELAY_POLL_INTERVAL": "0.2"}


def told(shop: Workshop) -> list[list[str]]:
    if not shop.calls_path.exists():
        return []
    return [line.split() for line in shop.calls_path.read_text().splitlines()]


async def visits(shop: Workshop, count: int, *, key: str, stay: float) -> list[Sent]:
    return await shop.store("staged", count, data={"log": str(shop.calls_path), "key": key, "stay": stay})


async def test_a_node_with_limits_is_called_by_so_many_runs_at_once_and_what_went_before_is_kept(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **FLOWS) as shop:
        await shop.worker()
        await shop.worker()
        sent = [*await visits(shop, 5, key="a", stay=0.05), *await visits(shop, 5, key="b", stay=0.05)]
        await shop.relay()
        runs = [await shop.ended(one, seconds=60.0) for one in sent]
        assert greatest_overlap(told(shop)) == {"a": 1, "b": 1}
    for run in runs:
        assert (run.status, run.errors) == (RunStatus.SUCCEEDED, 0)
        assert [attempt.outcome for attempt in run.attempts] == [AttemptOutcome.SUSPENDED, AttemptOutcome.SUCCEEDED]
        assert [limit.name for limit in run.limits] == ["alone"]
    assert sum(line[0] == "begins" for line in told(shop)) == len(sent)


async def test_what_a_stopped_worker_held_goes_on_elsewhere_with_its_permits(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    async with workshop(database_url, redis_url, tmp_path, **FLOWS) as shop:
        first = await shop.worker()
        await shop.relay()
        sent = await visits(shop, 3, key="a", stay=8.0)
        await until(lambda: open_visits(told(shop)), what="a run is at work", seconds=30.0)
        first.signal(signal.SIGTERM)
        await first.ended(within=30.0)
        await shop.worker()
        runs = [await shop.ended(one, seconds=90.0) for one in sent]
        assert greatest_overlap(told(shop)) == {"a": 1}
    outcomes = [attempt.outcome for run in runs for attempt in run.attempts]
    assert outcomes.count(AttemptOutcome.HANDED_BACK) == 1
    assert {run.status for run in runs} == {RunStatus.SUCCEEDED}
