import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.system import QUESTION, ROOT, System, eventually, system

SERVICES = ("api", "relay", "worker", "worker-cell")


@pytest.fixture
def processes(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[System]:
    """Every kind of process there is."""
    with system(database_url=database_url, redis_url=redis_url, home=tmp_path, settings={}) as made:
        made.start_relay()
        made.start_worker()
        made.start_cell()
        made.start_api()
        yield made


def log_level(processes: System, *arguments: str) -> None:
    command = [sys.executable, "-m", "throughline", "log-level", *arguments]
    environment = processes.environment(THROUGHLINE_REDIS_URL="redis://127.0.0.1:1/0")
    subprocess.check_output(command, env=environment, cwd=ROOT, text=True, timeout=60)


def found(processes: System, name: str, condition: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    return [line for line in processes.lines(name) if condition(line)]


def changes(processes: System, name: str) -> dict[int, list[str]]:
    """What each process of a service has told of its level."""
    told: dict[int, list[str]] = {}
    for line in found(processes, name, lambda line: line["event"].startswith("log level ")):
        told.setdefault(line["pid"], []).append(line["to"])
    return told


def test_every_process_follows_without_a_restart_and_goes_back_by_itself(processes: System) -> None:
    running = {"api": 1, "relay": 1, "worker": 1, "worker-cell": 2}
    processes.ended(processes.post(QUESTION)["event_id"])
    log_level(processes, "DEBUG", "--for", "12s")
    for name in SERVICES:
        told = eventually(
            lambda name=name: len(said := changes(processes, name)) == running[name] and said,
            what=f"each process of {name} logs from DEBUG on",
        )
        assert set(map(tuple, told.values())) == {("DEBUG",)}

    event_id = processes.post(QUESTION)["event_id"]
    processes.ended(event_id)
    httpx.get(f"{processes.api_url}/pipelines", trust_env=False)
    for name, logger in (("api", "api.group_commit"), ("api", "uvicorn.access"), ("worker", "pipelines.observing")):
        eventually(
            lambda name=name, logger=logger: found(processes, name, lambda line: line["logger"] == logger),
            what=f"lines of {logger}, which only DEBUG lets through, from {name}",
        )

    for name in SERVICES:
        eventually(
            lambda name=name: all(levels == ["DEBUG", "INFO"] for levels in changes(processes, name).values()),
            what=f"each process of {name} has gone back",
        )
    until = {line["until"] for name in SERVICES for line in found(processes, name, lambda line: "until" in line)}
    assert len(until) == 1, "the database's clock decides for all"

    seen = {name: len(list(processes.lines(name))) for name in SERVICES}
    processes.ended(processes.post(QUESTION)["event_id"])
    new = [line for name in SERVICES for line in list(processes.lines(name))[seen[name] :]]
    assert {line["level"] for line in new} == {"info"}


def test_one_service_alone_and_back_by_hand(processes: System) -> None:
    log_level(processes, "DEBUG", "--service", "relay")
    eventually(lambda: changes(processes, "relay"), what="the relay logs from DEBUG on")
    log_level(processes, "--reset")
    eventually(lambda: ["DEBUG", "INFO"] in changes(processes, "relay").values(), what="the relay has gone back")
    assert [changes(processes, name) for name in SERVICES if name != "relay"] == [{}, {}, {}]
