from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.measured import Costs, Operation
from benchmarks.simulation.kernel import Cores, Kernel, Level, Life, Process, Resume, Signal, Step
from benchmarks.simulation.scenario import Scenario


@dataclass(slots=True, eq=False)
class Event:
    """One event, which makes one run."""

    queue: "Queue"
    arrived: float
    accepted: float = -1.0
    finished: float = -1.0


@dataclass(slots=True, eq=False)
class Message:
    """Run ids on their way to one worker; ``left`` of them have not ended."""

    events: list[Event]
    ended: Signal
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.events)


class Queue:
    """What is due in PostgreSQL and what waits in Redis. ``turn`` is taken while a relay takes from it."""

    def __init__(self, kernel: Kernel, window: int) -> None:
        self.due: deque[Event] = deque()
        self.messages: deque[Message] = deque()
        self.sent = Level(kernel, window)
        self.turn = Level(kernel, 1)
        self.backlog = False


class Disk:
    """Commits that come while it flushes share the next flush."""

    def __init__(self, kernel: Kernel, *, flush: float, bytes_per_second: float) -> None:
        self._kernel = kernel
        self._flush = flush
        self._speed = bytes_per_second
        self._waiting: list[Resume] = []
        self._bytes = 0.0
        self._busy = False
        self.writing = Level(kernel, 1)
        self.written = 0.0
        self.flushes = 0

    def commit(self, size: float) -> Step:
        """Return the step that ends when so many bytes of WAL are safe."""

        def step(resume: Resume) -> None:
            self._waiting.append(resume)
            self._bytes += size
            if not self._busy:
                self._next()

        return step

    def _next(self) -> None:
        waiting, size, self._waiting, self._bytes = self._waiting, self._bytes, [], 0.0
        self._busy = bool(waiting)
        if not waiting:
            return
        if self._kernel.now >= self._kernel.begin:
            self.flushes += 1
            self.written += size
        writing = size / self._speed
        self.writing.move(1)
        self._kernel.after(writing, lambda: self.writing.move(-1))
        self._kernel.after(writing + self._flush, lambda: self._flushed(waiting))

    def _flushed(self, waiting: list[Resume]) -> None:
        self._next()
        for resume in waiting:
            resume()


class Means:
    """Mean batch sizes, by kind."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._found: dict[str, tuple[int, int]] = {}

    def note(self, kind: str, size: int) -> None:
        """Count a batch, if it is measured."""
        if self._kernel.now >= self._kernel.begin:
            count, total = self._found.get(kind, (0, 0))
            self._found[kind] = (count + 1, total + size)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return ((kind, total / count) for kind, (count, total) in self._found.items())


class World:
    """What the processes share: PostgreSQL, its disk, Redis, the queues, and the account of events."""

    def __init__(self, scenario: Scenario, costs: Costs) -> None:
        self.scenario = scenario
        self.costs = costs
        self.kernel = Kernel(begin=scenario.warm_up, end=scenario.warm_up + scenario.seconds)
        self.shared = Cores(self.kernel, scenario.shared_cores) if scenario.shared_cores else None
        self.postgres = self.shared or Cores(self.kernel, scenario.postgres_cores)
        self.postgres_demand = 0.0
        flush = costs.flush if scenario.flush_ms is None else scenario.flush_ms / 1000
        self.disk = Disk(self.kernel, flush=flush, bytes_per_second=scenario.wal_mb * 1e6)
        self.redis = self.process()
        self.queues = [Queue(self.kernel, scenario.window) for _ in range(scenario.queues)]
        self.due = Signal(self.kernel)
        self.sent = Signal(self.kernel)
        self.ended = Signal(self.kernel)
        self.notified = 0
        self.means = Means(self.kernel)
        self.arrived = self.refused = self.accepted = self.finished = 0
        self.counted = {"accepted": 0, "finished": 0}
        self.taken: dict[str, list[float]] = {"accept": [], "end to end": []}

    def process(self) -> Process:
        """Make a process."""
        return Process(self.kernel, self.shared)

    @property
    def open(self) -> int:
        """Events that arrived, were not refused and have not finished."""
        return self.arrived - self.refused - self.finished

    def transaction(self, process: Process, operation: Operation, size: int, *, background: float = 0.0) -> Life:
        """Do what a batch needs: the client's work, a backend's, and a commit."""
        yield process.use(operation.client.of(size))
        self.postgres_demand += self._counted(operation.server.of(size) + background)
        yield self.postgres.use(operation.server.of(size))
        if background:
            self.postgres.use(background)(_nothing)
        yield self.disk.commit(operation.wal.of(size))

    def accept(self, event: Event) -> None:
        """Note a commit."""
        event.accepted = self.kernel.now
        self.accepted += 1
        self._note("accepted", "accept", event.accepted - event.arrived)

    def finish(self, event: Event) -> None:
        """Note an end."""
        event.finished = self.kernel.now
        self.finished += 1
        self._note("finished", "end to end", event.finished - event.arrived)

    def _note(self, what: str, kind: str, seconds: float) -> None:
        if self.kernel.now >= self.kernel.begin:
            self.counted[what] += 1
            self.taken[kind].append(seconds)

    def _counted(self, seconds: float) -> float:
        return seconds if self.kernel.now >= self.kernel.begin else 0.0


def _nothing() -> None:
    """Nobody waits for it."""


class Batcher:
    """As ``storage.batching.Batcher``: while one batch is written, the next gathers. An item is one or more events.

    A writer that was woken looks at what there is when its turn on the event loop comes.
    """

    def __init__(
        self,
        kernel: Kernel,
        process: Process,
        write: Callable[[list[Event]], Life],
        *,
        most_items: int,
        most_events: int,
        writers: int,
    ) -> None:
        self._process = process
        self._write = write
        self._most_items = most_items
        self._most_events = most_events
        self._waiting: deque[tuple[Sequence[Event], Resume]] = deque()
        self._arrived = Signal(kernel)
        self._kernel = kernel
        for _ in range(writers):
            kernel.spawn(self._write_forever())

    def __len__(self) -> int:
        return len(self._waiting)

    def submit(self, events: Sequence[Event]) -> Step:
        """Return the step that ends when they are written."""

        def step(resume: Resume) -> None:
            self._waiting.append((events, resume))
            self._arrived.set()

        return step

    def _write_forever(self) -> Life:
        while True:
            batch, events = self._next()
            if not batch:
                yield self._arrived.wait()
                yield self._process.use(0.0)
                continue
            yield from self._write(events)
            for resume in batch:
                self._kernel.after(0.0, resume)

    def _next(self) -> tuple[list[Resume], list[Event]]:
        batch: list[Resume] = []
        events: list[Event] = []
        while self._waiting and len(batch) < self._most_items:
            if batch and len(events) + len(self._waiting[0][0]) > self._most_events:
                break
            item, resume = self._waiting.popleft()
            batch.append(resume)
            events += item
        return batch, events
