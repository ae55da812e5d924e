import json
import time
from http.client import HTTPConnection

from benchmarks.bench import Bench
from benchmarks.database import Database
from benchmarks.loadgen import quantile
from benchmarks.payload import event_id, event_parts
from benchmarks.sections.plain import WORKER, forget_plain, plain_database

_LOOK = 0.0003
_WARM = 10
_BLOCKS = 4


def idle(bench: Bench) -> None:
    """Send one event at a time and look in PostgreSQL, past the API, when it is done; blocks of both in turn."""
    stack = bench.stack
    stack.start_api()
    stack.start_workers()
    stack.start_relay()
    database, port = None, 0
    if bench.form.references:
        database, port = plain_database(stack), stack.start_reference_api("plain")
        stack.start_celery("plain-worker", WORKER)
    taken: dict[str, list[float]] = {"plain idle": [], "idle": []}
    each = bench.form.idle // _BLOCKS
    for block in range(_BLOCKS):
        warm = _WARM if block == 0 else 2
        if database is not None:
            taken["plain idle"] += one_by_one(bench, port, database, each, look=PLAIN_DONE, warm=warm)
        taken["idle"] += one_by_one(bench, stack.api_ports[0], stack.database, each, look=REAL_DONE, warm=warm)
    for name, seconds in taken.items():
        if ordered := sorted(seconds):
            bench.add(f"{name} p50", quantile(ordered, 0.5) * 1000, "ms")
            bench.add(f"{name} p99", quantile(ordered, 0.99) * 1000, "ms")
    if database is not None:
        database.close()
    stack.stop("api", "relay", "worker", "plain")
    stack.database.forget_events()
    forget_plain(stack)


REAL_DONE = "SELECT count(*) FROM runs WHERE status = 'succeeded' AND event_id = %(event)s"
PLAIN_DONE = "SELECT count(*) FROM plain_events WHERE finished_at IS NOT NULL AND id = %(event)s"


def one_by_one(  # noqa: PLR0913 - all that varies is keyword-only
    bench: Bench, port: int, database: Database, count: int, *, look: str, warm: int, type_: str = "bench.three"
) -> list[float]:
    """Return the seconds from the begin of the POST until the event is seen done, after ``warm`` that don't count."""
    before, after = event_parts(type_, source=bench.orders().source)
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    taken = []
    for number in range(count + warm):
        body = before + event_id(number) + after
        began = time.perf_counter()
        connection.request("POST", "/events", body=body, headers={"content-type": "application/json"})
        event = _event_of(connection)
        while not database.value(look, event=event):
            if time.perf_counter() - began > 30:
                raise TimeoutError("an event did not end within 30 s")
            time.sleep(_LOOK)
        taken.append(time.perf_counter() - began)
        time.sleep(0.01)
    connection.close()
    return taken[warm:]


def _event_of(connection: HTTPConnection) -> str:
    return str(json.loads(connection.getresponse().read())["event_id"])
