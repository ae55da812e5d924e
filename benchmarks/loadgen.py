"""The load generator, a process of its own: keep-alive connections, each sending its next request after the answer.

Takes its orders as JSON in the first argument. ``p`` and ``r`` on stdin pause it and let it go on; the end of stdin is
its end. Writes one JSON object, ``Sent`` as a dictionary, to stdout.
"""

import asyncio
import json
import os
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from benchmarks.http_wire import read_message, status_of
from benchmarks.payload import Requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What to send where. Ends after ``seconds``, or after ``count`` events where that isn't 0."""

    ports: tuple[int, ...]
    connections: int
    type: str
    source: str
    seconds: float = 0.0
    count: int = 0
    wait: float = 0.0
    batch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What came of it; times in seconds, ``cpu`` this process's own. ``accepted`` counts the events behind 2xx."""

    accepted: int
    requests: int
    refused: dict[str, int]
    broken: int
    seconds: float
    p50: float
    p99: float
    cpu: float

    @property
    def rate(self) -> float:
        """Accepted events a second."""
        return self.accepted / self.seconds


class Load:
    """What all connections share."""

    def __init__(self, orders: Orders) -> None:
        self.requests = Requests(orders.type, source=orders.source, wait=orders.wait, batch=orders.batch)
        self.latencies = array("d")
        self.refused: Counter[str] = Counter()
        self.broken = 0
        self.last = 0.0
        self.paused = False
        self.parked: list[Connection] = []
        self.ended = asyncio.Event()
        self._orders = orders
        self._left = orders.count // self.requests.events if orders.count else sys.maxsize
        self._open = orders.connections
        self._until = 0.0

    async def run(self) -> Sent:
        """Open every connection, send, and return when the last answer is there."""
        loop = asyncio.get_running_loop()
        ports = self._orders.ports
        connections = [Connection(self) for _ in range(self._orders.connections)]
        for number, connection in enumerate(connections):
            await loop.create_connection(lambda made=connection: made, "127.0.0.1", ports[number % len(ports)])  # type: ignore[misc]
        began, used = time.perf_counter(), time.process_time()
        self._until = began + self._orders.seconds if self._orders.seconds else float("inf")
        for connection in connections:
            connection.go()
        await self.ended.wait()
        taken = sorted(self.latencies)
        return Sent(
            accepted=len(taken) * self.requests.events,
            requests=len(taken) + self.refused.total(),
            refused=dict(self.refused),
            broken=self.broken,
            seconds=max(self.last - began, 1e-9),
            p50=quantile(taken, 0.5),
            p99=quantile(taken, 0.99),
            cpu=time.process_time() - used,
        )

    def wants_more(self) -> bool:
        """Say whether one more request is to be sent, and count it."""
        if self._left <= 0 or time.perf_counter() >= self._until:
            return False
        self._left -= 1
        return True

    def answered(self, status: int, sent: float) -> None:
        """Note an answer."""
        self.last = time.perf_counter()
        if status // 100 == 2:
            self.latencies.append(self.last - sent)
        else:
            self.refused[str(status)] += 1

    def leave(self, *, broken: bool) -> None:
        """Note that a connection sends no more."""
        self.broken += broken
        self._open -= 1
        if not self._open:
            self.ended.set()

    def hear(self, said: bytes) -> None:
        """Do what the driver says."""
        if not said:
            sys.exit(3)
        self.paused = said[-1:] == b"p"
        if not self.paused:
            parked, self.parked = self.parked, []
            for connection in parked:
                connection.go()


class Connection(asyncio.Protocol):
    """One connection: at most one request under way."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._left = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.Protocol``."""
        self._transport = cast("asyncio.Transport", transport)

    def go(self) -> None:
        """Send the next request, wait while the load is paused, or be done."""
        if self._load.paused:
            self._load.parked.append(self)
        elif self._transport is not None and self._load.wants_more():
            self._sent = time.perf_counter()
            self._transport.write(self._load.requests.next())
        else:
            self._leave(broken=False)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        message = read_message(self._buffer + data if self._buffer else data)
        if message is None:
            self._buffer += data
            return
        self._buffer = message.rest
        self._load.answered(status_of(message.head), self._sent)
        self.go()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        """See ``asyncio.Protocol``."""
        self._leave(broken=True)

    def _leave(self, *, broken: bool) -> None:
        if not self._left:
            self._left = True
            self._load.leave(broken=broken)
            if self._transport is not None:
                self._transport.close()


def quantile(ordered: list[float], share: float) -> float:
    """Return the value that ``share`` of the sorted values don't exceed; 0 of none."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else 0.0


async def _main(orders: Orders) -> None:
    load = Load(orders)
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin, lambda: load.hear(os.read(0, 64)))
    print(json.dumps(asdict(await load.run())))  # noqa: T201 - what the driver reads


if __name__ == "__main__":
    uvloop.run(_main(Orders(**json.loads(sys.argv[1]))))
