import os
import signal

from throughline.chaos.looks import leases_of, running_workers
from throughline.chaos.proxy import Path
from throughline.chaos.scene import Fault, Scene
from throughline.chaos.stack import API, CELL, LEASE, PREFORK, RELAYS, THREADS
from throughline.embedded.processes import descendants
from throughline.supervision.service import wait_ready

_BUSY_WITHIN = 5.0


def _kill_worker(scene: Scene) -> None:
    """SIGKILL a worker in mid-node."""
    stack, name = scene.stack, scene.random.choice(scene.stack.workers)
    prefix = stack.worker_name(name)
    scene.load.burst(40, wait=2.0)
    busy = stack.wait(_BUSY_WITHIN, until=lambda: bool(running_workers(stack.postgres, prefix)))
    scene.victims = leases_of(stack.postgres, prefix)
    scene.healed()
    stack.kill(name)
    scene.prove(busy, f"{name} was killed while it did nothing")


def _kill_child(scene: Scene) -> None:
    """SIGKILL a prefork child in mid-node."""
    stack = scene.stack
    prefix = stack.worker_name(PREFORK)
    children = {child.pid: child for child in descendants(stack.services[PREFORK].pid)}
    busy: list[str] = []

    def is_busy() -> bool:
        busy[:] = [worker for worker in running_workers(stack.postgres, prefix) if _pid_of(worker) in children]
        return bool(busy)

    scene.load.burst(80, wait=2.0)
    stack.wait(0.5)
    stack.wait(_BUSY_WITHIN, until=is_busy)
    scene.healed()
    scene.prove(busy, "no child was busy")
    worker = scene.random.choice(busy)
    children[_pid_of(worker)].send_signal(signal.SIGKILL)
    scene.victims = leases_of(stack.postgres, worker)


def _pid_of(worker: str) -> int:
    """Read the pid at the end of a child's name."""
    last = worker.rpartition(".")[2]
    return int(last) if last.isdigit() and int(last) != os.getpid() else 0


def _roll_workers(scene: Scene) -> None:
    """SIGTERM every worker in turn, each started again before the next."""
    for name in (*scene.stack.workers, CELL):
        scene.load.burst(20, wait=8.0)
        scene.stack.restart(name)
    scene.healed()


def _roll_api(scene: Scene) -> None:
    """SIGTERM the API with requests in flight, and start it again."""
    scene.load.burst(100)
    scene.stack.wait(scene.random.random() * 0.1)
    scene.stack.restart(API)
    scene.healed()


def _roll_relays(scene: Scene) -> None:
    """SIGTERM every relay in turn."""
    for name in RELAYS:
        scene.stack.restart(name)
    scene.healed()


def _kill_relay(scene: Scene) -> None:
    """SIGKILL a relay while it publishes."""
    scene.load.burst(100, wait=0.05)
    scene.stack.wait(scene.random.random() * 0.2)
    scene.healed()
    scene.stack.kill(scene.random.choice(RELAYS))


def _pause_worker(scene: Scene) -> None:
    """SIGSTOP a worker for longer than its lease: it comes back with runs that are others' now."""
    stack, name = scene.stack, scene.random.choice(THREADS)
    stack.restart(name, THROUGHLINE_WORKER_BLOCKED_LIMIT="120")
    service, prefix = stack.services[name], stack.worker_name(name)
    scene.load.burst(40, wait=2.0)
    busy = stack.wait(_BUSY_WITHIN * 2, until=lambda: bool(running_workers(stack.postgres, prefix)))
    scene.victims = leases_of(stack.postgres, prefix)
    service.send(signal.SIGSTOP)
    try:
        scene.keep()
    finally:
        service.send(signal.SIGCONT)
    scene.healed()
    scene.prove(busy, f"{name} was stopped while it did nothing")


def _outlast_lease(scene: Scene) -> None:
    """Runs that take longer than a lease and than the time after which their message is acknowledged."""
    scene.load.burst(5, wait=LEASE + 2.0)
    scene.keep()
    scene.healed()


def _swallow_spans(scene: Scene) -> None:
    """A collector that accepts and never answers; in all of the other time it refuses."""
    collector = scene.stack.collector
    before = collector.swallowed
    collector.switch(Path.BLACK_HOLE)
    scene.stack.wait(_BUSY_WITHIN * 2, until=lambda: collector.swallowed > before)
    scene.keep()
    collector.switch(Path.REFUSED)
    scene.healed()
    scene.prove(collector.swallowed > before, "nobody sent spans")


def _kill_everything(scene: Scene) -> None:
    """SIGKILL API, relays and workers at once, as when a node dies."""
    stack = scene.stack
    scene.load.burst(40, wait=1.0)
    stack.wait(0.5)
    for name in stack.workers:
        scene.victims += leases_of(stack.postgres, stack.worker_name(name))
    for name in stack.services:
        stack.kill(name)
    stack.wait(1.0)
    wait_ready(stack.services[API])
    scene.healed()


FAULTS = (
    Fault(name="worker-killed", inject=_kill_worker, limit=15.0, drains=True),
    Fault(
        name="worker-killed-in-a-row",
        inject=_kill_worker,
        limit=15.0,
        times=12,
        drains=True,
        once=True,
        only_full=True,
    ),
    Fault(name="child-killed", inject=_kill_child, limit=15.0),
    Fault(name="workers-rolled", inject=_roll_workers, limit=15.0, drains=True),
    Fault(name="api-rolled", inject=_roll_api, api_stops=True),
    Fault(name="relays-rolled", inject=_roll_relays),
    Fault(name="relay-killed", inject=_kill_relay, limit=30.0),
    Fault(name="worker-paused", inject=_pause_worker, hold=LEASE + 5.0, quick=LEASE + 2.0),
    Fault(name="runs-outlast-lease", inject=_outlast_lease, hold=LEASE + 3.0, only_full=True),
    Fault(name="collector-silent", inject=_swallow_spans, hold=10.0, quick=3.0),
    Fault(name="all-killed", inject=_kill_everything, api_stops=True, api_dies=True),
)
"""The collector refuses all the time, and neither Flower nor Prometheus runs: those rows are every minute of it."""
