from benchmarks.bench import Bench
from benchmarks.meter import peak_mib
from benchmarks.sections.drain import make_backlog

SETTINGS = {"THROUGHLINE_WORKER_SLOTS": "2048", "THROUGHLINE_WORKER_CONCURRENCY": "64"}
_TOOK = "SELECT extract(epoch FROM max(finished_at) - min(started_at))::float8 FROM runs WHERE status = 'succeeded'"


def waiting(bench: Bench) -> None:
    """Run events whose only node waits a second for somebody else, all on one worker process with slots for them."""
    stack, count = bench.stack, bench.form.waiting
    make_backlog(bench, count, type_="bench.waiting", wait=1.0)
    stack.start_workers(count=1, settings=SETTINGS)
    with bench.costing("waiting", lambda: count):
        stack.let_relay_go()
        bench.settle(timeout=120)
    bench.add("waiting total", float(stack.database.value(_TOOK)), "s")
    bench.add("waiting peak memory", peak_mib(stack.pids["worker-1"]) * 1.048576, "MB")
    stack.stop("relay", "worker")
    stack.database.forget_events()
