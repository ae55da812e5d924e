"""The processes, as far as their work depends on how much there is of it."""

import math
from collections.abc import Generator, Sequence
from typing import Final

from benchmarks.simulation.kernel import Level, Life, Signal, Step
from benchmarks.simulation.scenario import MOST_CLAIM_MESSAGES, MOST_CLAIM_RUNS, MOST_FINISHES, WRITERS
from benchmarks.simulation.world import Batcher, Event, Message, Queue, World
from settings import RelaySettings, WorkerSettings
from worker.relay.chunking import message_size, room_in_window

_SOON: Final = 0.02
_FULL_FIRST, _FULL_LONGEST = 0.02, 0.25
_GATHER_SHARE, _GATHER_LONGEST = 4.0, 0.06
_NOTIFY_PAUSE: Final = 0.01
_POLL: Final = RelaySettings().poll_interval
_SINGLE_BELOW: Final = RelaySettings().single_below
_ACKNOWLEDGE_AFTER: Final = WorkerSettings().acknowledge_after


class Api:
    """One API process: requests on one event loop, one flusher."""

    def __init__(self, world: World) -> None:
        self.process = world.process()
        self._world = world
        self._handling = 0
        self._batcher = Batcher(
            world.kernel,
            self.process,
            self._flush,
            most_items=world.scenario.flush_max_rows,
            most_events=world.scenario.flush_max_rows,
            writers=1,
        )
        self._flushes = 0
        self._stored = Signal(world.kernel)
        world.kernel.spawn(self._notify())

    def take(self, event: Event) -> Life:
        """Answer a request; the life ends with the answer."""
        world = self._world
        if self._handling + len(self._batcher) >= world.scenario.flush_queue_max:
            world.refused += 1
            return
        self._handling += 1
        yield self.process.use(world.costs.request)
        self._handling -= 1
        yield self._batcher.submit((event,))

    def _flush(self, events: list[Event]) -> Life:
        world = self._world
        yield from world.transaction(self.process, world.costs.accept, len(events))
        world.means.note("accept", len(events))
        for event in events:
            world.accept(event)
            event.queue.due.append(event)
        self._flushes += 1
        self._stored.set()

    def _notify(self) -> Life:
        """Wake the relays after a flush, and then no more for a while."""
        told = 0
        while True:
            if told == self._flushes:
                yield self._stored.wait()
            told = self._flushes
            self._world.notified += 1
            self._world.due.set()
            yield self._world.kernel.sleep(_NOTIFY_PAUSE)


class Relay:
    """One relay: passes over all queues, each of which it takes from only in its turn."""

    def __init__(self, world: World) -> None:
        self.process = world.process()
        self._world = world
        self._full = _FULL_FIRST
        world.kernel.spawn(self._work())

    def _work(self) -> Life:
        world = self._world
        while True:
            began, wait, shares, heard = world.kernel.now, _POLL, False, world.notified
            for queue in world.queues:
                if not queue.due:
                    continue
                if queue.turn.value:
                    wait = min(wait, _SOON)
                    continue
                before = queue.sent.value
                taken, full = yield from self._publish(queue)
                shares |= not queue.backlog and taken > 0 and (taken > 1 or before > 0)
                if queue.due:
                    wait = min(wait, self._pause(taken) if full else 0.0)
            if shares:
                yield world.kernel.sleep(min(_GATHER_LONGEST, (world.kernel.now - began) * _GATHER_SHARE))
            if wait and world.notified == heard:
                yield world.due.wait(timeout=wait)

    def _pause(self, taken: int) -> float:
        """Return how long to wait for room in the window."""
        self._full = _FULL_FIRST if taken else min(self._full * 2, _FULL_LONGEST)
        return self._full

    def _publish(self, queue: Queue) -> Generator[Step, None, tuple[int, bool]]:
        world, scenario, costs = self._world, self._world.scenario, self._world.costs
        queue.turn.move(1)
        before = int(queue.sent.value)
        room = room_in_window(before, window=scenario.window, backlog=queue.backlog)
        taken = [queue.due.popleft() for _ in range(min(room, scenario.take_max, len(queue.due)))]
        queue.sent.move(len(taken))
        queue.backlog = bool(queue.due)
        yield from world.transaction(self.process, costs.publish, len(taken))
        queue.turn.move(-1)
        if taken:
            world.means.note("publish", len(taken))
            size = message_size(
                len(taken) + before + (scenario.take_max if queue.backlog else 0),
                single_below=_SINGLE_BELOW,
                max_runs=scenario.message_max_runs,
            )
            yield from self._send(queue, taken, size)
        return len(taken), not room or (queue.backlog and len(taken) == room)

    def _send(self, queue: Queue, taken: Sequence[Event], size: int) -> Life:
        world, message = self._world, self._world.costs.message
        count = math.ceil(len(taken) / size)
        each = message.client.each + world.costs.relay_run
        yield self.process.use(message.client.fixed * count + each * len(taken))
        yield world.redis.use(message.server.fixed * count + message.server.each * len(taken))
        for start in range(0, len(taken), size):
            events = list(taken[start : start + size])
            world.means.note("message", len(events))
            queue.messages.append(Message(events, Signal(world.kernel)))
        world.sent.set()


class Worker:
    """One worker process of the threads pool: one event loop, two claim writers, two finish writers, slots."""

    def __init__(self, world: World) -> None:
        scenario = world.scenario
        self.process = world.process()
        self.slots = Level(world.kernel, scenario.slots)
        self.messages = Level(world.kernel, scenario.concurrency)
        self._world = world
        self._slot_freed = Signal(world.kernel)
        self._place_freed = Signal(world.kernel)
        self._claims = Batcher(
            world.kernel,
            self.process,
            self._claim,
            most_items=MOST_CLAIM_MESSAGES,
            most_events=MOST_CLAIM_RUNS,
            writers=WRITERS,
        )
        self._finishes = Batcher(
            world.kernel,
            self.process,
            self._finish,
            most_items=MOST_FINISHES,
            most_events=MOST_FINISHES,
            writers=WRITERS,
        )
        self._next_queue = 0
        world.kernel.spawn(self._fetch())

    def _fetch(self) -> Life:
        while True:
            if self.messages.value >= self.messages.most:
                yield self._place_freed.wait()
            elif (message := self._next_message()) is None:
                yield self._world.sent.wait()
            else:
                self.messages.move(1)
                self._world.kernel.spawn(self._process(message))
                yield self._world.kernel.sleep(0.0)

    def _next_message(self) -> Message | None:
        queues = self._world.queues
        for place in range(len(queues)):
            queue = queues[(self._next_queue + place) % len(queues)]
            if queue.messages:
                self._next_queue = (self._next_queue + place + 1) % len(queues)
                return queue.messages.popleft()
        return None

    def _process(self, message: Message) -> Life:
        world = self._world
        yield world.redis.use(world.costs.redis_message)
        yield self.process.use(world.costs.worker_message)
        waiting = message.events
        while waiting:
            free = int(self.slots.most - self.slots.value)
            if not free:
                yield self._slot_freed.wait()
                continue
            chunk, waiting = waiting[:free], waiting[free:]
            self.slots.move(len(chunk))
            yield self._claims.submit(chunk)
            for event in chunk:
                world.kernel.spawn(self._run(event, message))
        yield message.ended.wait(timeout=_ACKNOWLEDGE_AFTER)
        self.messages.move(-1)
        self._place_freed.set()

    def _claim(self, events: list[Event]) -> Life:
        world = self._world
        yield from world.transaction(self.process, world.costs.claim, len(events))
        world.means.note("claim", len(events))
        for event in events:
            event.queue.sent.move(-1)

    def _run(self, event: Event, message: Message) -> Life:
        world = self._world
        yield self.process.use(world.costs.run)
        if world.scenario.wait:
            yield world.kernel.sleep(world.scenario.wait)
        yield self._finishes.submit((event,))
        world.finish(event)
        world.ended.set()
        self.slots.move(-1)
        self._slot_freed.set()
        message.left -= 1
        if not message.left:
            message.ended.set()

    def _finish(self, events: list[Event]) -> Life:
        world, size = self._world, len(events)
        yield from world.transaction(self.process, world.costs.finish, size, background=world.costs.background * size)
        world.means.note("finish", size)
