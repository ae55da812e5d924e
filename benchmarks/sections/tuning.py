from collections import defaultdict
from typing import Final

from benchmarks.bench import Bench
from benchmarks.loadgen import quantile
from benchmarks.sections.drain import speed
from benchmarks.sections.idle import REAL_DONE, one_by_one
from benchmarks.tuning import SETTINGS, Setting, compare

_BATCH: Final = 100
_CONNECTIONS: Final = 16
_ALONE: Final = 40
_WARM: Final = 5


def tuning(bench: Bench) -> None:
    """Ingest arrays, drain them and send single events at half, twice and four times each setting, in turn."""
    for setting in SETTINGS:
        measured: defaultdict[int, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for _ in range(bench.form.repetitions):
            for value in setting.values():
                for what, figure in _turn(bench, setting, value).items():
                    measured[value][what].append(figure)
        for value, ratios in compare(measured, setting.default):
            bench.results.compare(f"{setting.title} {value:,}", ratios)


def _turn(bench: Bench, setting: Setting, value: int) -> dict[str, float]:
    stack, name = bench.stack, f"{setting.title} {value:,}"
    own = {setting.group: setting.environment(value)}
    stack.start_api(settings=own.get("api"))
    stack.start_relay(settings=own.get("relay"))
    stack.start_workers(settings=own.get("worker"))
    stack.hold_relay()
    sent = bench.send(bench.orders(count=bench.form.drain // 3, batch=_BATCH, connections=_CONNECTIONS))
    stack.let_relay_go()
    bench.settle(timeout=60 + sent.accepted / 50)
    drained = speed(bench)
    taken = one_by_one(bench, stack.api_ports[0], stack.database, _ALONE, look=REAL_DONE, warm=_WARM)
    p50 = quantile(sorted(taken), 0.5) * 1000
    stack.stop("api", "relay", "worker")
    stack.database.forget_events()
    bench.add(f"ingest batch 100, {name}", sent.rate)
    bench.add(f"drain, {name}", drained)
    bench.add(f"idle p50, {name}", p50, "ms")
    return {"ingest batch 100": sent.rate, "drain": drained, "idle p50": p50}
