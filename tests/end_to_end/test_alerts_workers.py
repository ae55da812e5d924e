"""Alerts of busy and of dying workers, on the running system: each fires for its fault and resolves after it."""

import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.otlp import OtlpReceiver
from tests.support.prometheus import Prometheus
from tests.support.stage import Stage, staged
from tests.support.system import eventually
from throughline.embedded.processes import descendants

pytestmark = [pytest.mark.verify, pytest.mark.timeout(480)]

LEASE = 6.0
CHILDREN = 2
ALERTS = {
    "ThroughlineSlotsSaturated",
    "ThroughlineBacklogGrows",
    "ThroughlineLeaseStorm",
    "ThroughlineStaleWrites",
}


CONSEQUENCES = {"ThroughlineRunsWaitTooLong", "ThroughlineNoWorker", "ThroughlineTargetDown"}
"""Of the backlog, and of the worker's start with more slots."""


@pytest.fixture
def stage(database_url: str, redis_url: str, receiver: OtlpReceiver, tmp_path: Path) -> Iterator[Stage]:
    """A worker of four slots, and one with children that have nothing to do."""
    settings = {"THROUGHLINE_WORKER_SLOTS": "4", "THROUGHLINE_WORKER_LEASE": str(LEASE)}
    with staged(tmp_path, database_url=database_url, redis_url=redis_url, receiver=receiver, **settings) as made:
        made.start_children(CHILDREN, THROUGHLINE_WORKER_QUEUES='["slow"]')
        yield made


@pytest.fixture
def watching(stage: Stage, tmp_path: Path) -> Iterator[Prometheus]:
    with stage.watching(tmp_path / "prometheus") as made:
        yield made


def test_too_few_slots_and_lost_leases_fire_their_alerts_which_resolve(stage: Stage, watching: Prometheus) -> None:
    """Thirty runs a second, of a second each."""
    with stage.load(*[stage.event("steady", sleep=1.0)] * 15):
        watching.awaits("ThroughlineSlotsSaturated", queue="default")
        watching.awaits("ThroughlineBacklogGrows")
        stage.whole.stop("worker")
        stage.start_worker(THROUGHLINE_WORKER_SLOTS="256")
        children_die(stage, watching)
        watching.resolves("ThroughlineSlotsSaturated")
        watching.resolves("ThroughlineBacklogGrows")
        lease_ends_under_its_worker(stage, watching)
    watching.resolves("ThroughlineLeaseStorm")
    watching.resolves("ThroughlineStaleWrites")
    assert watching.fired() - CONSEQUENCES == ALERTS
    assert {watching.times_fired(alert) for alert in ALERTS} == {1}
    assert watching.unhealthy() == []


def children_die(stage: Stage, watching: Prometheus) -> None:
    """Again and again, as from code that kills its process."""

    def begun() -> set[tuple[str, str]]:
        found = watching.series(f'process_start_time_seconds{{instance=~"{"|".join(stage.children)}"}}')
        return {(one["metric"]["instance"], one["value"][1]) for one in found}

    for _ in range(3):
        seated = eventually(lambda: seated_children(stage), what="children that hold leases")
        before = begun()
        for child in seated:
            child.send_signal(signal.SIGKILL)
        eventually(
            lambda before=before: len(begun()) == CHILDREN and not begun() & before, what="others in their seats"
        )
    watching.awaits("ThroughlineLeaseStorm")


def seated_children(stage: Stage) -> list[psutil.Process]:
    """The children that hold leases; none while some don't yet."""
    seated = {int(worker.rpartition(".")[2]) for worker, *_ in open_leases(stage) if "/" in worker}
    living = [one for one in descendants(stage.whole.services["worker-prefork"].pid) if one.pid in seated]
    return living if len(living) == CHILDREN else []


def lease_ends_under_its_worker(stage: Stage, watching: Prometheus) -> None:
    """As when PostgreSQL's clock is set: the lease is over there, and its worker can't know before it renews it.

    How many runs end in between hangs on the moment; so it happens until it is told.
    """
    with stage.session() as session:

        def lease() -> tuple[Any, ...] | None:
            found = [one for one in open_leases(stage) if "/" not in one[0]]
            return found[0] if len(found) == 1 else None

        def is_ended(lease_id: Any) -> bool:
            session.execute("UPDATE worker_leases SET expires_at = now() WHERE lease_id = %s", [lease_id])
            return lease_id not in {open_id for _, open_id, _ in open_leases(stage)}

        def is_told() -> bool:
            held = eventually(lease, what="the worker's lease")
            renewed = eventually(lambda: (now := lease()) != held and now, what="a renewal")
            eventually(lambda: is_ended(renewed[1]), what="a lease that a relay has ended")
            with suppress(AssertionError):
                watching.awaits("ThroughlineStaleWrites", timeout=5.0)
            return bool(watching.firing("ThroughlineStaleWrites"))

        eventually(is_told, timeout=60.0, what="ThroughlineStaleWrites fires")


def open_leases(stage: Stage) -> list[tuple[Any, ...]]:
    """The names of living workers, their leases, and when each was renewed."""
    with stage.session() as session:
        return session.execute(
            "SELECT worker, lease_id, renewed_at FROM worker_leases WHERE ended_at IS NULL"
        ).fetchall()
