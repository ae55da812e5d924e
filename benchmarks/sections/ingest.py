import json
import subprocess
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.payload import event_parts
from benchmarks.sections.plain import forget_plain
from throughline.embedded.binaries import postgres_bin
from throughline.embedded.cluster import OWNER, clean_environment, run_program
from throughline.errors import StackError

_BATCH = 100
_BATCH_CONNECTIONS = 20
_BATCH_RATE = 0.4
_INSERT = "INSERT INTO inserts (id, data) VALUES (gen_random_uuid(), '{data}'::jsonb);\n"


def ingest(bench: Bench) -> None:
    """Accept events with no worker about, in turn with the plain design's accept and with handlers that store less."""
    stack = bench.stack
    stack.start_api()
    batched = _takes_batches(stack.api_ports[0])
    if not batched:
        bench.results.facts["ingest batch 100"] = "not there: POST /events takes no JSON array"
    for _ in range(bench.form.repetitions):
        if bench.form.references:
            _references(bench)
        for connections in (32, 256, 1):
            _single(bench, connections)
        if batched:
            _batches(bench)
    stack.stop("api")


def _references(bench: Bench) -> None:
    for kind, name in (("plain", "plain ingest 32"), ("bare", "bare FastAPI 32")):
        port, accepted = bench.stack.start_reference_api(kind), 0
        with bench.costing(name, lambda: accepted):  # noqa: B023 - asked within this turn
            sent = bench.send(bench.orders(seconds=bench.form.seconds, ports=(port,)))
            accepted = sent.accepted
        bench.add(name, sent.rate)
        bench.stack.stop(kind)
    forget_plain(bench.stack)
    _committed_inserts(bench)


def _single(bench: Bench, connections: int) -> None:
    stack = bench.stack
    stack.sink.reset()
    before = stack.database.rows()
    accepted = 0
    with bench.costing(f"ingest {connections}", lambda: accepted):
        sent = bench.send(bench.orders(connections=connections, seconds=bench.form.seconds))
        accepted = sent.accepted
    bench.results.costs[f"ingest {connections}"]["load generator"] = sent.cpu / accepted * 1e6
    bench.add(f"ingest {connections}", sent.rate)
    bench.add(f"ingest {connections} p50", sent.p50 * 1000, "ms")
    bench.add(f"ingest {connections} p99", sent.p99 * 1000, "ms")
    after = stack.database.rows()
    bench.add(f"ingest {connections} WAL", (after.wal - before.wal) / accepted, "bytes/event")
    bench.check_posts(f"ingest {connections}", posts=accepted)
    stack.database.forget_events()


def _batches(bench: Bench) -> None:
    stack = bench.stack
    stack.sink.reset()
    accepted = 0
    with bench.costing("ingest batch 100", lambda: accepted):
        sent = bench.send(
            bench.orders(connections=_BATCH_CONNECTIONS, seconds=bench.form.seconds * _BATCH_RATE, batch=_BATCH)
        )
        accepted = sent.accepted
    bench.add("ingest batch 100", sent.rate)
    bench.add("ingest batch 100 p99", sent.p99 * 1000, "ms")
    bench.check_accepts("ingest batch 100", posts=sent.requests, events=accepted)
    stack.database.forget_events()


def _takes_batches(port: int) -> bool:
    """Find out whether POST /events takes an array."""
    before, after = event_parts("bench.three", source="bench-probe")
    body = b"[" + before + b"1" + after + b"," + before + b"2" + after + b"]"
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", "/events", body=body, headers={"content-type": "application/json"})
        response = connection.getresponse()
        said = response.read()
    finally:
        connection.close()
    return response.status // 100 == 2 and isinstance(json.loads(said), list | dict)


def _committed_inserts(bench: Bench) -> None:
    """Run pgbench: one committed insert a transaction, of a row like an event's."""
    stack = bench.stack
    stack.postgres.psql(
        "CREATE TABLE IF NOT EXISTS inserts (id uuid PRIMARY KEY, data jsonb); TRUNCATE inserts",
        database="bench_references",
    )
    before, after = event_parts("bench.three", source="pgbench")
    script = stack.folder.path / "insert.sql"
    script.write_text(_INSERT.replace("{data}", (before + b"1" + after).decode()), encoding="utf-8")
    for clients in (16, 32):
        bench.add(f"PostgreSQL committed inserts {clients}", _pgbench(bench, script, clients))


def _pgbench(bench: Bench, script: Path, clients: int) -> float:
    postgres = bench.stack.postgres
    seconds = max(2, round(bench.form.seconds / 2))
    command = [
        str(postgres_bin() / "pgbench"),
        *("--no-vacuum", "--protocol=simple", f"--client={clients}", "--jobs=1", f"--time={seconds}"),
        f"--file={script}",
    ]
    env = clean_environment() | {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(postgres.port),
        "PGUSER": OWNER,
        "PGPASSWORD": postgres.password,
        "PGDATABASE": "bench_references",
    }
    try:
        said = run_program(command, env=env, timeout=seconds + 30.0)
    except subprocess.CalledProcessError as error:
        raise StackError(f"pgbench: {error.stdout}") from None
    return float(said.partition("tps = ")[2].split()[0])
