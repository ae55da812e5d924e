import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console

from benchmarks.bench import FULL, Bench
from benchmarks.fill import fill_due, fill_history
from benchmarks.report import show
from benchmarks.results import Results, Verdict
from benchmarks.stack import BenchStack, Knobs
from throughline.embedded import DataFolder
from throughline.errors import StackError
from throughline.supervision import StopRequested, Supervisor

_FOLDER = Path(".throughline") / "bench-scale"
_LITTLE = 10_000
_FIRST = "SELECT count(*) FROM runs WHERE status = 'succeeded' AND finished_at >= %(since)s"
_SPEED = """
    SELECT count(*) / extract(epoch FROM max(finished_at) - min(finished_at))::float8
    FROM (
        SELECT finished_at FROM runs WHERE status = 'succeeded' AND finished_at >= %(since)s
        ORDER BY finished_at OFFSET %(skip)s LIMIT %(most)s
    ) AS these
"""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


def scale(
    *,
    due: Annotated[int, typer.Option(min=_LITTLE, help="Runs that are due, where much is due.")] = 1_000_000,
    history: Annotated[int, typer.Option(min=1, help="Runs that have ended, where there is history.")] = 10_000_000,
    folder: Annotated[Path, typer.Option(help="Where all of it is kept until the next run.")] = _FOLDER,
    repetitions: Annotated[int, typer.Option(min=1, help="How often each figure is measured.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Seconds of each ingest.")] = 5.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the results go as JSON.")] = None,
) -> None:
    """Measure drain with little and much due, and ingest without and with history; what is made for it is kept."""
    results = Results()
    results.facts["sizes"] = {"little due": _LITTLE, "much due": due, "history": history}
    try:
        with DataFolder(folder) as kept, Supervisor() as supervisor:
            stack = BenchStack(kept, Knobs())
            try:
                stack.start(supervisor)
                results.facts["durability"] = stack.database.require_durable()
                _measure(Bench(form=FULL, stack=stack, results=results, say=_say), due, history, repetitions, seconds)
            finally:
                stack.close()
    except StopRequested as stop:
        raise typer.Exit(stop.exit_code) from None
    except StackError as error:
        console.print(f"bench-scale: {error}", style="red", markup=False)
        raise typer.Exit(2) from None
    show(console, results)
    path = json_file or Path(tempfile.gettempdir()) / f"throughline-bench-scale-{int(time.time())}.json"
    path.write_text(json.dumps(results.as_json(), indent=2), encoding="utf-8")
    console.print(f"\nresults as JSON: {path}", markup=False)
    missed = any(one.verdict is Verdict.MISSED for one in results.reached())
    raise typer.Exit(1 if results.complaints or missed else 0)


def _measure(bench: Bench, due: int, history: int, repetitions: int, seconds: float) -> None:
    _use(bench, "scale_history")
    fill_history(bench.stack.database, history, say=bench.say)
    for _ in range(repetitions):
        for name, count in (("little", _LITTLE), ("much", due)):
            _use(bench, f"scale_{name}")
            fill_due(bench.stack.database, count, say=bench.say)
            _drain(bench, f"drain with {name} due", min(count, _LITTLE))
        for name, database in (("without", "scale_none"), ("with", "scale_history")):
            _use(bench, database)
            _ingest(bench, name, seconds)
    for database in ("scale_little", "scale_much", "scale_history"):
        size = bench.stack.postgres.psql(f"SELECT pg_database_size('{database}')", database="postgres")
        bench.results.facts[f"{database}, GiB"] = round(int(size) / 2**30, 2)


def _use(bench: Bench, database: str) -> None:
    """Turn to a database, made when it isn't there; what Redis held for another is forgotten."""
    stack = bench.stack
    stack.postgres.psql(
        f"SELECT 'CREATE DATABASE {database}' WHERE NOT EXISTS "
        f"(SELECT FROM pg_database WHERE datname = '{database}') \\gexec",
        database="postgres",
    )
    stack.use(stack.postgres.url_of(database))
    stack.sink.reset()
    with redis.Redis.from_url(stack.redis_url(0)) as client:
        client.flushdb()


def _drain(bench: Bench, name: str, count: int) -> None:
    """Measure the speed of the first so many, without those at the very begin; then stop, whatever is left."""
    stack = bench.stack
    since = stack.database.value("SELECT clock_timestamp()")
    stack.start_workers()
    stack.start_relay()
    before = int(stack.database.value(_FIRST, since=since))
    with bench.costing(name, lambda: int(stack.database.value(_FIRST, since=since)) - before):
        deadline = time.monotonic() + 60 + count / 50
        while (done := stack.database.value(_FIRST, since=since)) < count:
            if time.monotonic() > deadline:
                raise StackError(f"{name}: {done} of {count} within {60 + count / 50:g} s; the logs say why")
            time.sleep(0.2)
    stack.stop("relay", "worker")
    skip = count // 50
    bench.add(name, float(stack.database.value(_SPEED, since=since, skip=skip, most=count - 2 * skip)))


def _ingest(bench: Bench, name: str, seconds: float) -> None:
    """Accept events, and drain them, so that they are history the next time."""
    stack = bench.stack
    stack.start_api()
    accepted = 0
    with bench.costing(f"ingest {name} history", lambda: accepted):
        sent = bench.send(bench.orders(seconds=seconds))
        accepted = sent.accepted
    bench.add(f"ingest {name} history", sent.rate)
    bench.add(f"ingest {name} history p99", sent.p99 * 1000, "ms")
    stack.stop("api")
    _drain(bench, f"drain {name} history", accepted)
    if name == "without":
        stack.database.forget_events()


def _say(text: str) -> None:
    console.print(f"  {text}", style="dim", markup=False)


if __name__ == "__main__":
    typer.run(scale)
