import json
import subprocess
import sys
import time
from collections.abc import Mapping

from benchmarks.bench import Bench
from benchmarks.fitting import fit
from benchmarks.meter import thread_seconds
from benchmarks.sections.batches import mean_batches
from benchmarks.sections.drain import make_backlog
from benchmarks.sections.idle import REAL_DONE, one_by_one

_REST = 2.0
_ALONE = 60
_MESSAGES = {1: 800, 100: 3_000}
_CROWD = 256
_CROWD_SECONDS = 2.0
_PARTS = ("server", "client", "wal")
_UNITS = {"server": "us", "client": "us", "wal": "bytes"}
_MEAN_FLUSH = "SELECT avg(accepted)::float8 FROM run_deltas WHERE accepted > 0"


def units(bench: Bench) -> None:
    """Take apart what an event costs: fixed and for each of a batch, a process at rest, and one event alone."""
    _batches(bench)
    _crowd(bench)
    for size, count in _MESSAGES.items():
        _worker(bench, size, count)
    _alone(bench)


def _batches(bench: Bench) -> None:
    stack = bench.stack
    argv = [sys.executable, "-m", "benchmarks.unit_costs", str(stack.redis.pid)]
    with (stack.folder.logs / "units.log").open("wb") as log:
        said = subprocess.run(argv, env=stack.settings_environment(), check=True, stdout=subprocess.PIPE, stderr=log)
    for name, by_size in json.loads(said.stdout).items():
        _note(bench, name, {int(size): cost for size, cost in by_size.items()})
    stack.database.execute("TRUNCATE worker_leases")
    stack.database.forget_events()


def _note(bench: Bench, name: str, by_size: Mapping[int, dict[str, float]]) -> None:
    lines = {part: fit({size: cost[part] for size, cost in by_size.items()}) for part in _PARTS}
    bench.results.units[name] = {
        **{part: [round(line.fixed, 1), round(line.each, 2)] for part, line in lines.items()},
        "wall": [round(cost["wall"], 1) for cost in by_size.values()],
        "sizes": list(by_size),
        **{f"{part} by size": [round(cost[part], 1) for cost in by_size.values()] for part in _PARTS},
    }
    told = ", ".join(f"{part} {line.fixed:,.0f} + {line.each:,.1f} {_UNITS[part]}" for part, line in lines.items())
    bench.say(f"{name}: {told}" if len(by_size) > 1 else f"{name}: {told.replace(' + 0.0', '')}")


def _crowd(bench: Bench) -> None:
    """Note what an event costs the API when flushes are large, and how large they are."""
    stack = bench.stack
    stack.start_api()
    before = thread_seconds(stack.pids["api-1"])
    sent = bench.send(bench.orders(connections=_CROWD, seconds=_CROWD_SECONDS, ports=stack.api_ports[:1]))
    spent = thread_seconds(stack.pids["api-1"]) - before
    bench.results.processes["api in a crowd"] = {
        "cpu us": round(spent / sent.accepted * 1e6, 1),
        "events a flush": round(float(stack.database.value(_MEAN_FLUSH)), 1),
    }
    bench.say(f"api in a crowd: {bench.results.processes['api in a crowd']}")
    stack.stop("api")
    stack.database.forget_events()


def _worker(bench: Bench, size: int, count: int) -> None:
    """Note what a run costs relay and worker where messages have up to ``size`` runs, and how large batches are."""
    stack = bench.stack
    make_backlog(bench, count, type_="bench.three", relay={"THROUGHLINE_RELAY_MESSAGE_MAX_RUNS": str(size)})
    stack.start_workers(count=1)
    before = _spent({name: stack.pids[name] for name in ("relay", "worker-1", "redis")})
    stack.let_relay_go()
    bench.settle(timeout=60)
    spent = _since({name: stack.pids[name] for name in before}, before)
    kind = f"messages of {size}"
    bench.results.processes[kind] = {
        **{f"{name.partition('-')[0]} us": round(seconds / count * 1e6, 1) for name, seconds in spent.items()},
        **{f"runs a {name}": mean for name, mean in mean_batches(bench).items() if name != "accept"},
    }
    bench.say(f"{kind}: {bench.results.processes[kind]}")
    stack.stop("relay", "worker")
    stack.database.forget_events()


def _alone(bench: Bench) -> None:
    """Note what each process costs a second at rest, and what one event alone costs it beyond that."""
    stack = bench.stack
    stack.start_api()
    stack.start_workers(count=1)
    stack.start_relay()
    one_by_one(bench, stack.api_ports[0], stack.database, 1, look=REAL_DONE, warm=20)
    pids = {name: pid for name, pid in stack.pids.items() if name not in {"postgres", "sink"}}
    before, began = _spent(pids), time.monotonic()
    time.sleep(_REST)
    rest = {name: spent / (time.monotonic() - began) for name, spent in _since(pids, before).items()}
    before, began = _spent(pids), time.monotonic()
    one_by_one(bench, stack.api_ports[0], stack.database, _ALONE, look=REAL_DONE, warm=0)
    took = time.monotonic() - began
    for name, spent in _since(pids, before).items():
        bench.results.processes[name.partition("-")[0]] = {
            "at rest us/s": round(rest[name] * 1e6),
            "alone us": round((spent - rest[name] * took) / _ALONE * 1e6, 1),
        }
    told = {name: cost for name, cost in bench.results.processes.items() if "alone us" in cost}
    bench.say(f"at rest, and for one event alone: {told}")
    stack.stop("api", "relay", "worker")
    stack.database.forget_events()


def _spent(pids: Mapping[str, int]) -> dict[str, float]:
    return {name: thread_seconds(pid) for name, pid in pids.items()}


def _since(pids: Mapping[str, int], before: Mapping[str, float]) -> dict[str, float]:
    return {name: spent - before[name] for name, spent in _spent(pids).items()}
