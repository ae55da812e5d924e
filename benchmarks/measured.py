"""Measured costs: made of the JSON of ``make bench``, kept in ``measured.toml``, read by the simulation."""

import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.fitting import Line

FILE: Final = Path(__file__).parent / "measured.toml"
_SHARED: Final = ("accept", "publish", "keep", "claim", "finish", "remove", "message")


@dataclass(frozen=True, slots=True)
class Operation:
    """What a batch of one kind costs: CPU seconds of the server and of its client, WAL bytes."""

    server: Line
    client: Line
    wal: Line

    @classmethod
    def of(cls, table: Mapping[str, list[float]]) -> Self:
        """Read a table, whose CPU times are microseconds."""
        micro = {name: Line(table[name][0] / 1e6, table[name][1] / 1e6) for name in ("server", "client")}
        return cls(wal=Line(*table["wal"]), **micro)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Everything in seconds. ``request``: an event's HTTP; ``run``: three nodes; ``message``: Celery's part of one.

    ``relay_run``: what a run costs the relay beside statements and messages; ``background``: what PostgreSQL does for
    an event beside the backends; ``flush``: an fsync; ``sender``: what the load generator spends on a request.
    """

    accept: Operation
    publish: Operation
    claim: Operation
    finish: Operation
    message: Operation
    request: float
    run: float
    relay_run: float
    worker_message: float
    redis_message: float
    background: float
    flush: float
    sender: float


def load(path: Path = FILE) -> Costs:
    """Read the costs."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    values: dict[str, Any] = {name: microseconds / 1e6 for name, microseconds in found["each"].items()}
    for name in ("accept", "publish", "claim", "finish", "message"):
        values[name] = Operation.of(found[name])
    return Costs(**values)


def toml_of(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the file, of a run with at least the sections units, ingest and drain."""
    units, costs = results["units"], results["cpu_us_per_event"]
    yield "# Made by `python -m benchmarks.measured RESULTS.json` of a run of `make bench`. Times are CPU microseconds."
    yield "# Pairs are what a batch costs and what each in it adds. server: the one backend, or Redis for a message."
    yield "\n[machine]"
    yield from (f"{name} = {_value(value)}" for name, value in results["facts"]["machine"].items())
    for name in _SHARED:
        yield f"\n[{name}]"
        yield from (f"{part} = {units[name][part]}" for part in ("server", "client", "wal"))
        yield f"sizes = {units[name]['sizes']}"
        yield from (f'"{part} by size" = {units[name][f"{part} by size"]}' for part in ("server", "client", "wal"))
    yield "\n[each]"
    yield from (f"{name} = {value:.1f}" for name, value in _each(units, results["processes"], costs).items())
    for name in ("renew", "commit", "round trip"):
        one = {part: units[name][part][0] for part in ("server", "client", "wal")} | {"wall": units[name]["wall"][0]}
        yield f'\n["{name}"]'
        yield from (f"{part} = {value}" for part, value in one.items())
    for title, tables in (("processes", results["processes"]), ("per event", costs)):
        for name, table in tables.items():
            yield f'\n["{title}"."{name}"]'
            yield from (f'"{key}" = {value:.1f}' for key, value in table.items())
    yield "\n[figures]"
    yield from (f'"{name}" = {figure["median"]:.1f}' for name, figure in results["figures"].items())


def _each(units: Mapping[str, Any], processes: Mapping[str, Any], costs: Mapping[str, Any]) -> dict[str, float]:
    """Solve for what no statement tells: Celery's share of a message, a run's nodes, a request, the relay's books."""
    client = {name: Line(*units[name]["client"]) for name in _SHARED}
    server = {name: Line(*units[name]["server"]) for name in _SHARED}
    crowd, single, many = (processes[name] for name in ("api in a crowd", "messages of 1", "messages of 100"))

    def storage(found: Mapping[str, float]) -> float:
        return client["claim"].shared(found["runs a claim"]) + client["finish"].shared(found["runs a finish"])

    with_message = single["worker us"] - storage(single)
    with_hundredth = many["worker us"] - storage(many)
    message = (with_message - with_hundredth) / (1 - 1 / 100)
    backends = server["accept"].shared(crowd["events a flush"])
    backends += sum(server[name].shared(100) for name in ("publish", "claim", "finish"))
    return {
        "request": crowd["cpu us"] - client["accept"].shared(crowd["events a flush"]),
        "run": with_message - message,
        "relay_run": max(0.0, many["relay us"] - client["publish"].shared(1000) - client["message"].shared(100)),
        "worker_message": message,
        "redis_message": single["redis us"] - server["message"].of(1),
        "background": max(0.0, costs["ingest 256"]["postgres"] + costs["drain"]["postgres"] - backends),
        "flush": max(0.0, _more(units, "wall") - _more(units, "server") - _more(units, "client")),
        "sender": costs["ingest 32"]["load generator"],
    }


def _more(units: Mapping[str, Any], part: str) -> float:
    """Return by how much a commit exceeds a round trip without one."""
    return float(units["commit"][part][0] - units["round trip"][part][0])


def _value(value: Any) -> str:
    return str(value) if isinstance(value, int) else f'"{value}"'


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write("\n".join(toml_of(found)) + "\n")
