import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

from throughline.chaos.looks import leases_of, rows
from throughline.chaos.proxy import Path
from throughline.chaos.scene import Fault, Scene
from throughline.chaos.stack import API, THREADS
from throughline.embedded import EmbeddedPostgres
from throughline.embedded.cluster import OWNER
from throughline.embedded.postgres import DATABASE
from throughline.errors import ServiceFailed

_PROTOCOL = 196608
_ANSWER = 1.0
_PAUSE = 0.01


def _kill(scene: Scene) -> None:
    """Kill -9 in mid-POST and mid-node, and restart."""
    scene.load.burst(100, wait=1.0)
    scene.stack.wait(scene.random.random() * 0.1)
    scene.stack.postgres.kill()
    scene.keep()
    scene.stack.postgres.start()
    scene.healed()


def _restart(scene: Scene) -> None:
    """Stop it as an operator does, and start it."""
    scene.load.burst(40, wait=1.0)
    scene.stack.postgres.restart()
    scene.healed()


def _pause(scene: Scene) -> None:
    """SIGSTOP: connections stay, nothing answers."""
    scene.stack.postgres.pause()
    try:
        scene.keep()
    finally:
        scene.stack.postgres.resume()
    scene.healed()


def _use_up(scene: Scene) -> None:
    """Take every connection, and every one that comes free; then reset the API's and a worker's."""
    with _greedy(scene.stack.postgres.port):
        scene.stack.wait(1.0)
        for name in (API, THREADS[0]):
            scene.stack.postgres_ways[name].reset()
        scene.keep()
        refused = _is_refused(scene.stack.postgres)
    scene.healed()
    scene.prove(refused, "there were connections left")


def _is_refused(postgres: EmbeddedPostgres) -> bool:
    with contextlib.suppress(ServiceFailed):
        return not rows(postgres, "SELECT 1", timeout=5.0)
    return True


def _cut_off_worker(scene: Scene) -> None:
    """A worker that reaches Redis but not PostgreSQL, for longer than its lease."""
    stack, name = scene.stack, THREADS[0]
    scene.load.burst(40, wait=2.0)
    stack.wait(0.5)
    scene.victims = leases_of(stack.postgres, stack.worker_name(name))
    way = stack.postgres_ways[name]
    before = way.swallowed
    way.switch(Path.BLACK_HOLE)
    scene.keep()
    way.switch(Path.OPEN)
    scene.healed()
    scene.prove(scene.victims and way.swallowed > before, f"{name} did not look for PostgreSQL")


def _fill_disk(scene: Scene) -> None:
    """No byte left for PostgreSQL; it is started again if that ended it."""
    small, postgres = scene.stack.small, scene.stack.postgres
    if small is None:
        return
    small.fill()
    scene.load.burst(200, wait=0.1, padding="x" * 20_000)
    try:
        scene.keep()
    finally:
        small.free()
    if postgres.exit_code() is not None:
        postgres.start()
    scene.healed()
    said = scene.load.ledger.said("postgres-disk-full")
    scene.prove(said["503"], "the full disk refused nothing")


@contextlib.contextmanager
def _greedy(port: int) -> Iterator[None]:
    """Hold every connection slot from a thread: a client that never answers the question for its password has one."""
    done = threading.Event()
    thread = threading.Thread(target=_take_all, args=(port, done), name="greedy", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10.0)


def _take_all(port: int, done: threading.Event) -> None:
    said = struct.pack("!i", _PROTOCOL) + b"".join(
        word.encode() + b"\0" for word in ("user", OWNER, "database", DATABASE)
    )
    start = struct.pack("!i", len(said) + 5) + said + b"\0"
    with contextlib.ExitStack() as held:
        while not done.wait(_PAUSE):
            connection = _take_one(port, start)
            if connection is not None:
                held.enter_context(connection)


def _take_one(port: int, start: bytes) -> socket.socket | None:
    try:
        connection = socket.create_connection(("127.0.0.1", port), timeout=_ANSWER)
    except OSError:
        return None
    with contextlib.suppress(OSError):
        connection.sendall(start)
        if connection.recv(1) == b"R":
            return connection
    connection.close()
    return None


FAULTS = (
    Fault(name="postgres-killed", inject=_kill, hold=2.0, quick=1.0, postgres_away=True),
    Fault(name="postgres-restarted", inject=_restart, postgres_away=True),
    Fault(name="postgres-paused", inject=_pause, hold=10.0, quick=5.0, postgres_away=True),
    Fault(name="postgres-used-up", inject=_use_up, hold=10.0, quick=5.0, postgres_away=True),
    Fault(name="postgres-cut-from-one", inject=_cut_off_worker, hold=15.0, quick=12.0),
    Fault(name="postgres-disk-full", inject=_fill_disk, hold=8.0, quick=4.0, needs_mount=True, postgres_away=True),
)
