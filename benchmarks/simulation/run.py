import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.loadgen import quantile
from benchmarks.measured import Costs
from benchmarks.simulation.kernel import Life, Process
from benchmarks.simulation.parts import Api, Relay, Worker
from benchmarks.simulation.scenario import Scenario
from benchmarks.simulation.world import Event, World

_SATURATED: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of it: events a second, seconds, shares of the time, mean batch sizes, bytes of WAL a second.

    ``arrived``, ``refused``, ``finished`` and ``in_flight`` are of the whole time, the rest of what was measured.
    ``postgres_cores``: how many it kept busy.
    """

    arrived: int
    refused: int
    finished: int
    in_flight: int
    accepted_rate: float
    finished_rate: float
    accept: tuple[float, float]
    end_to_end: tuple[float, float]
    utilisation: dict[str, float]
    batches: dict[str, float]
    postgres_cores: float
    wal: float
    flushes: float

    @property
    def saturated(self) -> tuple[str, ...]:
        """The parts that had next to no time or room left; a full window is no part but what waits for one."""
        return tuple(name for name, share in self.utilisation.items() if share >= _SATURATED and name != "window")


def simulate(scenario: Scenario, costs: Costs) -> Report:
    """Let the system run for the scenario's time; the same seed gives the same report."""
    world = World(scenario, costs)
    apis = [Api(world) for _ in range(scenario.api)]
    relays = [Relay(world) for _ in range(scenario.relays)]
    workers = [Worker(world) for _ in range(scenario.workers)]
    chance = random.Random(scenario.seed)
    for number in range(scenario.backlog):
        world.arrived += 1
        event = Event(world.queues[number % scenario.queues], 0.0)
        world.accept(event)
        event.queue.due.append(event)
    if scenario.rate:
        world.kernel.spawn(_arrivals(world, apis, chance))
    sender = world.process()
    for number in range(scenario.connections):
        world.kernel.spawn(_sender(world, apis[number % len(apis)], chance, sender))
    world.kernel.run()
    return _report(world, apis, relays, workers)


def _arrivals(world: World, apis: Sequence[Api], chance: random.Random) -> Life:
    while True:
        yield world.kernel.sleep(chance.expovariate(world.scenario.rate))
        event = _arrived(world, chance)
        world.kernel.spawn(apis[world.arrived % len(apis)].take(event))


def _sender(world: World, api: Api, chance: random.Random, process: Process) -> Life:
    while True:
        if world.scenario.held and world.open > world.scenario.held:
            yield world.ended.wait()
            continue
        yield process.use(world.costs.sender)
        yield from api.take(_arrived(world, chance))


def _arrived(world: World, chance: random.Random) -> Event:
    world.arrived += 1
    return Event(chance.choice(world.queues), world.kernel.now)


def _report(world: World, apis: Sequence[Api], relays: Sequence[Relay], workers: Sequence[Worker]) -> Report:
    seconds = world.scenario.seconds
    return Report(
        arrived=world.arrived,
        refused=world.refused,
        finished=world.finished,
        in_flight=world.open,
        accepted_rate=world.counted["accepted"] / seconds,
        finished_rate=world.counted["finished"] / seconds,
        accept=_quantiles(world.taken["accept"]),
        end_to_end=_quantiles(world.taken["end to end"]),
        utilisation={
            "api": _mean([api.process.utilisation for api in apis]),
            "relay": _mean([relay.process.utilisation for relay in relays]),
            "turn": max(queue.turn.utilisation for queue in world.queues),
            "window": max(queue.sent.utilisation for queue in world.queues),
            "worker": _mean([worker.process.utilisation for worker in workers]),
            "slots": _mean([worker.slots.utilisation for worker in workers]),
            "messages": _mean([worker.messages.utilisation for worker in workers]),
            "redis": world.redis.utilisation,
            "all cores" if world.shared else "postgres": world.postgres.utilisation,
            "disk": world.disk.writing.utilisation,
        },
        batches=dict(world.means),
        postgres_cores=world.postgres_demand / seconds,
        wal=world.disk.written / seconds,
        flushes=world.disk.flushes / seconds,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _quantiles(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return quantile(ordered, 0.5), quantile(ordered, 0.99)
