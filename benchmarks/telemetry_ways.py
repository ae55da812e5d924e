"""The ways of handling telemetry that are compared, and what was measured of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.flow import NODES
from benchmarks.sink_client import SinkClient
from benchmarks.stack import BenchStack
from benchmarks.telemetry_flow import MODULE

SHARE: Final = 0.1
_DELAY: Final = 10.0
_TITLES: Final = {
    "slow": "collector slow",
    "dead": "collector dead",
    "on": "traces on",
    "sampled": "traces 10 %",
    "off": "traces off",
}
"""The slow and the dead come first in each round: what they have queued is given up while the others are measured."""
_COLLECTORS: Final = {"slow": _DELAY, "on": 0.0, "sampled": 0.0}
_SHARED: Final = frozenset({"relay", "postgres", "redis"})


@dataclass(slots=True, kw_only=True)
class Way:
    """One way: processes of its own that stay up, and what was measured of them.

    ``key`` is in its event type, its queue and its processes' names; ``sink`` is its collector, if there is one.
    """

    key: str
    settings: dict[str, str]
    sink: SinkClient | None
    ports: tuple[int, ...] = ()
    events: int = 0
    alone: list[float] = field(default_factory=list)
    used: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What people read."""
        return _TITLES[self.key]

    @property
    def type(self) -> str:
        """Its events' type."""
        return f"bench.{self.key}"

    @property
    def span_names(self) -> tuple[str, ...]:
        """The spans that every event has, one of each."""
        return ("POST /events", "accept", f"process bench_{self.key}", *NODES)

    def spend(self, what: str, seconds: Mapping[str, float]) -> None:
        """Add CPU seconds by process to those by kind of process."""
        used = self.used.setdefault(what, {})
        for name, value in seconds.items():
            kind = name.partition("-")[0]
            used[kind] = used.get(kind, 0.0) + value

    def own(self, pids: Mapping[str, int]) -> dict[str, int]:
        """Return the processes that work for it."""
        return {name: pid for name, pid in pids.items() if name in _SHARED or self.key in name.split("-")}


def start_ways(stack: BenchStack, *, dead_port: int) -> list[Way]:
    """Start the collectors, and API and workers of every way."""
    ports = {key: stack.start_sink(f"sink-{key}", delay=delay) for key, delay in _COLLECTORS.items()}
    ways = []
    for key in _TITLES:
        settings = settings_of(key, {**ports, "dead": dead_port}.get(key))
        way = Way(key=key, settings=settings, sink=SinkClient(ports[key]) if key in ports else None)
        stack.start_api(name=f"api-{key}", settings=settings)
        way.ports = stack.api_ports
        stack.start_workers(name=f"worker-{key}", settings=settings | {"THROUGHLINE_WORKER_QUEUES": f'["{key}"]'})
        ways.append(way)
    return ways


def settings_of(key: str, port: int | None) -> dict[str, str]:
    """Return a way's settings; without a ``port`` nothing is exported."""
    return {
        "THROUGHLINE_PIPELINES_MODULES": f'["{MODULE}"]',
        "THROUGHLINE_TELEMETRY_ENDPOINT": f"http://127.0.0.1:{port}" if port else "",
        "THROUGHLINE_TELEMETRY_SAMPLE_RATIO": str(SHARE if key == "sampled" else 1.0),
    }
