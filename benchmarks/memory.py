import redis

from benchmarks.bench import Bench
from benchmarks.meter import resident_mib


def resident(bench: Bench) -> dict[str, float]:
    """Return the MiB that each process holds for itself."""
    return {name: round(resident_mib(pid), 1) for name, pid in bench.stack.pids.items()}


def note_memory(bench: Bench, name: str, before: dict[str, float]) -> None:
    """Note what each process held before and holds now, and what Redis holds."""
    bench.results.facts[f"memory in MiB, {name}"] = {
        process: {"before": before.get(process), "after": size} for process, size in resident(bench).items()
    }
    with redis.Redis.from_url(bench.stack.redis_url(0)) as client:
        info = client.info("memory")
        bench.results.facts[f"Redis, {name}"] = {
            "used MiB": round(info["used_memory"] / 2**20, 1),
            "peak MiB": round(info["used_memory_peak"] / 2**20, 1),
            "keys": client.dbsize(),
        }
