"""The alert of a limit that lets nobody go, on the running system: it fires for its fault and resolves after it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.limited_flows import AT_ONCE, lines, open_visits
from tests.support.otlp import OtlpReceiver
from tests.support.stage import FLOWS, Stage, staged
from tests.support.system import eventually

pytestmark = [pytest.mark.verify, pytest.mark.timeout(480)]

MODULES = f'["{FLOWS}", "tests.support.limited_flows"]'


@pytest.fixture
def stage(database_url: str, redis_url: str, receiver: OtlpReceiver, tmp_path: Path) -> Iterator[Stage]:
    with staged(
        tmp_path,
        database_url=database_url,
        redis_url=redis_url,
        receiver=receiver,
        THROUGHLINE_PIPELINES_MODULES=MODULES,
    ) as made:
        yield made


def test_a_limit_whose_runs_do_not_end_fires_its_alert_which_resolves(stage: Stage, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.touch()
    visit = {"type": "test.guarded", "data": {"log": str(ledger), "key": "a", "stay": 250.0}}
    sent = [stage.whole.post(visit)["runs"][0]["run_id"] for _ in range(AT_ONCE + 1)]
    with stage.watching(tmp_path / "prometheus") as watching:
        watching.awaits("ThroughlineLimitStuck", timeout=200.0, limit="visits")
        there = set(open_visits(lines(ledger)))
        assert len(there) == AT_ONCE
        (waiting,) = set(sent) - there
        told = httpx.get(f"{stage.whole.api_url}/runs/{waiting}", trust_env=False).json()
        assert [limit["full"] for limit in told["waits_for"]] == [True]
        httpx.post(f"{stage.whole.api_url}/runs/{there.pop()}/cancel", trust_env=False)
        eventually(lambda: waiting in open_visits(lines(ledger)), what="the run that waited is let go")
        watching.resolves("ThroughlineLimitStuck")
        assert watching.unhealthy() == []
