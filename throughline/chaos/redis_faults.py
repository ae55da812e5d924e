import contextlib
import shutil
from functools import partial

import redis

from throughline.chaos.looks import open_runs
from throughline.chaos.proxy import Path
from throughline.chaos.scene import Fault, Scene

_DEAD_MASTER = 1
_UNSET = "0"
_QUEUE = "default"


def _kill_idle(scene: Scene) -> None:
    """Kill -9 and restart while nothing is under way: what workers wait on breaks."""
    stack, rate, scene.load.rate = scene.stack, scene.load.rate, 0.0
    try:
        stack.wait(10.0, until=lambda: open_runs(stack.postgres) == 0)
        stack.redis.kill()
        scene.load.rate = rate
        scene.keep()
        stack.redis.start()
    finally:
        scene.load.rate = rate
    scene.healed()


def _kill_busy(scene: Scene) -> None:
    """Kill -9 and restart with unacknowledged messages."""
    _fill(scene)
    scene.stack.redis.kill()
    scene.keep()
    scene.stack.redis.start()
    scene.healed()


def _pause(scene: Scene) -> None:
    """SIGSTOP: connections stay, nothing answers."""
    scene.stack.redis.pause()
    try:
        scene.keep()
    finally:
        scene.stack.redis.resume()
    scene.healed()


def _cut(scene: Scene, *, path: Path, workers_only: bool) -> None:
    _fill(scene)
    ways = scene.stack.redis_ways.values()
    before = sum(way.swallowed for way in ways)
    scene.stack.switch_redis(path, workers_only=workers_only)
    scene.keep()
    scene.stack.switch_redis(Path.OPEN)
    scene.healed()
    scene.prove(sum(way.swallowed for way in ways) > before, "nobody looked for Redis")


def _fill_memory(scene: Scene) -> None:
    """No memory left, and nothing may be evicted."""
    with scene.stack.redis_client() as client:
        client.config_set("maxmemory", "1")
        refused = _is_refused(client)
        scene.keep()
        client.config_set("maxmemory", _UNSET)
    scene.healed()
    scene.prove(refused, "Redis still took writes")


def _flush(scene: Scene) -> None:
    """FLUSHALL with messages in the queue."""
    _fill(scene)
    with scene.stack.redis_client() as client:
        carried = _carried(client)
        client.flushall()
    scene.healed()
    scene.prove(carried, "no message was in Redis")


def _lose_data(scene: Scene) -> None:
    """Stop it, delete its file, start it."""
    _fill(scene)
    redis = scene.stack.redis
    redis.stop()
    shutil.rmtree(redis.working_folder)
    scene.keep()
    redis.start()
    scene.healed()


def _fail_over(scene: Scene) -> None:
    """Make it a replica of a dead master: every write is answered READONLY."""
    with scene.stack.redis_client() as client:
        client.replicaof("127.0.0.1", _DEAD_MASTER)
        refused = _is_refused(client)
        scene.keep()
        client.replicaof("NO", "ONE")
    scene.healed()
    scene.prove(refused, "Redis still took writes")


def _is_refused(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return not client.set("chaos", 1)
    return True


def _fill(scene: Scene) -> None:
    """Have more in Redis than workers can take at once."""
    with scene.stack.redis_client() as client:
        scene.load.burst(200, wait=0.8)
        scene.stack.wait(0.3)
        scene.stack.wait(2.0, until=lambda: _carried(client) > 1)


def _carried(client: redis.Redis) -> int:
    """Return how many messages wait in Redis, or are in a worker's hands."""
    return int(client.llen(_QUEUE)) + int(client.hlen("unacked"))


FAULTS = (
    Fault(name="redis-killed-idle", inject=_kill_idle, hold=2.0, quick=1.0, redis_away=True),
    Fault(name="redis-killed-busy", inject=_kill_busy, hold=2.0, quick=1.0, redis_away=True),
    Fault(name="redis-paused", inject=_pause, hold=30.0, quick=8.0, redis_away=True),
    Fault(
        name="redis-refused",
        inject=partial(_cut, path=Path.REFUSED, workers_only=False),
        hold=10.0,
        quick=4.0,
        redis_away=True,
    ),
    Fault(
        name="redis-black-hole",
        inject=partial(_cut, path=Path.BLACK_HOLE, workers_only=True),
        hold=20.0,
        quick=8.0,
        redis_away=True,
    ),
    Fault(
        name="redis-black-hole-long",
        inject=partial(_cut, path=Path.BLACK_HOLE, workers_only=True),
        hold=120.0,
        redis_away=True,
        once=True,
        only_full=True,
    ),
    Fault(name="redis-full", inject=_fill_memory, hold=10.0, quick=4.0, redis_away=True),
    Fault(name="redis-flushed", inject=_flush, limit=30.0, drains=True),
    Fault(name="redis-data-lost", inject=_lose_data, hold=1.0, quick=0.5, limit=30.0, drains=True, redis_away=True),
    Fault(name="redis-readonly", inject=_fail_over, hold=8.0, quick=4.0, redis_away=True),
)
