"""What no statement tells is solved for: made-up costs must come back as they were put together."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.fitting import Line
from benchmarks.measured import load, toml_of

REQUEST, RUN, MESSAGE, REDIS, RELAY = 180.0, 300.0, 2_000.0, 150.0, 25.0
CLIENT = {
    "accept": Line(250.0, 10.0),
    "publish": Line(1_600.0, 6.0),
    "keep": Line(500.0, 2.0),
    "claim": Line(500.0, 20.0),
    "finish": Line(480.0, 21.0),
    "remove": Line(900.0, 1.0),
    "message": Line(400.0, 7.0),
}
SERVER = Line(300.0, 30.0)
SINGLE, MANY = 1.5, 80.0


def worker(message_runs: float, batch: float) -> float:
    return RUN + MESSAGE / message_runs + CLIENT["claim"].shared(batch) + CLIENT["finish"].shared(batch)


def unit(client: Line) -> dict[str, list[float]]:
    by_size = {f"{part} by size": [1.0] for part in ("server", "client", "wal")}
    return {
        "server": [SERVER.fixed, SERVER.each],
        "client": [client.fixed, client.each],
        "wal": [100.0, 500.0],
        "wall": [900.0],
        "sizes": [1],
        **by_size,
    }


@pytest.fixture
def results() -> dict[str, Any]:
    units = {name: unit(line) for name, line in CLIENT.items()}
    for name, wall in (("renew", 900.0), ("commit", 600.0), ("round trip", 400.0)):
        units[name] = unit(Line(300.0, 0.0)) | {"wall": [wall], "server": [50.0, 0.0], "wal": [100.0, 0.0]}
    backends = SERVER.shared(128) + 3 * SERVER.shared(100)
    many_relay = RELAY + CLIENT["publish"].shared(1000) + CLIENT["message"].shared(100)
    return {
        "facts": {"machine": {"cores": 2, "python": "3.11.7", "kernel": "6.1"}},
        "units": units,
        "processes": {
            "api in a crowd": {"cpu us": REQUEST + CLIENT["accept"].shared(128), "events a flush": 128.0},
            "messages of 1": {
                "worker us": worker(1, SINGLE),
                "relay us": 400.0,
                "redis us": REDIS + SERVER.of(1),
                "runs a claim": SINGLE,
                "runs a finish": SINGLE,
            },
            "messages of 100": {
                "worker us": worker(100, MANY),
                "relay us": many_relay,
                "redis us": 5.0,
                "runs a claim": MANY,
                "runs a finish": MANY,
            },
        },
        "cpu_us_per_event": {
            "ingest 256": {"postgres": 40.0},
            "ingest 32": {"load generator": 32.0},
            "drain": {"postgres": backends},
        },
        "figures": {"drain": {"median": 3_400.0}},
    }


def test_costs_come_back_as_they_were_put_together(results: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "measured.toml"
    path.write_text("\n".join(toml_of(results)), encoding="utf-8")
    costs = load(path)
    found = [costs.request, costs.run, costs.worker_message, costs.redis_message, costs.relay_run]
    assert [one * 1e6 for one in found] == pytest.approx([REQUEST, RUN, MESSAGE, REDIS, RELAY], abs=0.1)
    assert costs.background * 1e6 == pytest.approx(40.0, abs=0.1)
    assert costs.flush * 1e6 == pytest.approx(200.0, abs=0.1)
    assert costs.accept.client.of(100) == pytest.approx(1_250e-6)
    assert costs.claim.wal.of(2) == 1_100.0


def test_the_committed_costs_can_be_read_and_are_all_above_nothing() -> None:
    costs = load()
    assert min(costs.request, costs.run, costs.worker_message, costs.flush, costs.finish.server.each) > 0
