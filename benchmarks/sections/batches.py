from benchmarks.bench import Bench

_MEANS = """
    SELECT count(*)::float8 / count(DISTINCT created_at), count(*)::float8 / count(DISTINCT started_at),
           count(*)::float8 / count(DISTINCT finished_at)
    FROM runs WHERE status = 'succeeded'
"""


def mean_batches(bench: Bench) -> dict[str, float]:
    """Return how many events shared a transaction of each kind: its time is on every row that it wrote."""
    names = ("accept", "claim", "finish")
    return {name: round(float(mean), 1) for name, mean in zip(names, bench.stack.database.row(_MEANS), strict=True)}
