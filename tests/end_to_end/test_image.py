"""The image, and the base of the compose stack over it: each service as the shipped file has it, in containers."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from settings import VERSION
from tests.support.collector import FakeLoki, Line, collector, fake_loki
from tests.support.compose import BASE, OVERRIDE, PASSWORDS, ROOT, model
from tests.support.otlp import OtlpReceiver, is_connected, otlp_receiver
from tests.support.stack import Stack, engine_answers, seconds, stack
from tests.support.system import QUESTION, eventually
from throughline.embedded import free_port

pytestmark = [pytest.mark.verify, pytest.mark.timeout(400)]

OURS = ("api", "relay", "worker", "cell", "flower")
ORDER = ("postgres", "redis", "migrate", *OURS)
CONFINED = ("--read-only", "--cap-drop=ALL", "--network=none")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built here over TEST_BASE_IMAGE, or over the default one where the engine has that."""
    if not engine_answers():
        pytest.skip("no Docker engine answers")
    base = os.environ.get("TEST_BASE_IMAGE")
    arguments = [f"BASE_IMAGE={base}", f"PIP_CERT={CERTIFICATES}"] if base else []
    (default,) = [line.partition("=")[2] for line in _dockerfile() if line.startswith("ARG BASE_IMAGE=")]
    if not base and _docker("image", "inspect", default).returncode != 0:
        pytest.skip(f"the engine has no {default}: pull it, or set TEST_BASE_IMAGE (tests/images/build makes one)")
    name = "throughline-test:built"
    flags = [part for argument in arguments for part in ("--build-arg", argument)]
    context = _checkout(tmp_path_factory.mktemp("checkout"))
    done = _docker("build", "--quiet", *flags, "--tag", name, str(context))
    assert done.returncode == 0, done.stdout + done.stderr
    return name


def _checkout(place: Path) -> Path:
    """Make what the build is given, as a checkout has it that was made under umask 077."""
    given = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[0] == "!"]
    for name in (*given, "Dockerfile", ".dockerignore"):
        target = place / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    for path in place.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return place


def _dockerfile() -> list[str]:
    return (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    # The classic builder is in every engine; the plugin for the other may be missing.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    return subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=300, env=environment, check=False
    )


@dataclass(frozen=True, kw_only=True)
class Up:
    """What is up: the containers, where the API and Flower are, and what stands in for Tempo and Loki."""

    stack: Stack
    api: str
    flower: str
    tempo: OtlpReceiver
    loki: FakeLoki


@pytest.fixture(scope="module")
def up(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The shipped stack but for the backends, whose places we take; the collector runs beside the containers."""
    api, flower = free_port(), free_port()
    with ExitStack() as opened:
        tempo, loki = opened.enter_context(otlp_receiver()), opened.enter_context(fake_loki())
        ports = {"API_PORT": str(api), "FLOWER_PORT": str(flower)}
        images = {"THROUGHLINE_IMAGE": image}
        for server in ("POSTGRES", "REDIS"):
            if given := os.environ.get(f"TEST_{server}_IMAGE"):
                images[f"{server}_IMAGE"] = given
        made = opened.enter_context(stack({}, hosts={"collector": ""}))
        running = opened.enter_context(
            collector(
                tmp_path_factory.mktemp("collector"),
                tempo=tempo.endpoint,
                loki=loki.endpoint,
                otlp=(made.hosts["collector"], 4318),
                TRACE_DECISION_WAIT="2s",
                TRACE_KEEP_PERCENT="100",
            )
        )
        environment = {**PASSWORDS, **ports, **images, "COLLECTOR_FLUENT_PORT": str(running.fluent[1])}
        made.services = model(BASE, OVERRIDE, environment=environment)["services"]
        made.up(ORDER)
        yield Up(stack=made, api=f"http://127.0.0.1:{api}", flower=f"http://127.0.0.1:{flower}", tempo=tempo, loki=loki)


def in_image(image: str, script: str) -> str:
    done = _docker(
        "run", "--rm", "--read-only", "--cap-drop=ALL", "--network=none", "--entrypoint=sh", image, "-c", script
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_image_has_what_runs_and_nothing_that_builds(image: str) -> None:
    assert in_image(image, "id -u; id -g") == "10001\n10001"
    assert in_image(image, "find /opt/throughline -writable | head") == ""
    assert in_image(image, "command -v gcc cc make git curl || true") == ""
    assert in_image(image, "ls -d /opt/throughline/lib/python3*/site-packages/pip || true") == ""
    assert in_image(image, "find / -xdev -name benchmarks -o -xdev -path '*/app/tests' 2>/dev/null || true") == ""
    described: dict[str, Any] = json.loads(_docker("image", "inspect", image).stdout)[0]["Config"]
    assert described["Entrypoint"] == ["throughline"]
    assert described["User"] == "10001:10001"
    assert described["Labels"]["org.opencontainers.image.version"] == VERSION
    assert not [one for one in described["Env"] if "PIP" in one or "PASSWORD" in one]


def test_every_command_starts_in_it_without_anything_to_write_to(image: str) -> None:
    done = _docker("run", "--rm", *CONFINED, image, "pipelines", "list")
    assert done.returncode == 0, done.stderr
    assert "issue_triage" in done.stdout


def test_an_event_goes_through_the_containers_and_can_be_followed(up: Up) -> None:
    with httpx.Client(base_url=up.api, timeout=10, trust_env=False) as client:
        answer = client.post("/events", json=QUESTION)
        assert answer.status_code == 202, answer.text
        accepted = answer.json()

        def ended() -> dict[str, Any] | None:
            event: dict[str, Any] = client.get(f"/events/{accepted['event_id']}").json()
            return event if event["status"] == "succeeded" else None

        event = eventually(ended, what=f"the event's end; {up.stack.said('worker')}")
    assert event is not None
    assert {run["status"] for run in event["runs"]} == {"succeeded"}
    trace_id = accepted["trace_id"]
    assert accepted["links"]["trace"].startswith("http://127.0.0.1:3000/explore?")
    assert trace_id in accepted["links"]["trace"]

    def whole(_spans: object) -> bool:
        spans = up.tempo.trace(trace_id)
        return {span.service for span in spans} >= {"throughline-api", "throughline-worker"} and is_connected(spans)

    up.tempo.wait_until(whole, timeout=30)

    def told(lines: tuple[Line, ...]) -> bool:
        of_it = [line for line in lines if line.trace_id == trace_id]
        return {line.service for line in of_it} >= {"throughline-worker"}

    lines = up.loki.wait_until(told, timeout=30)
    services = {line.service for line in lines}
    assert {"postgres", "redis", "throughline-api", "throughline-relay", "throughline-worker"} <= services


def test_the_load_shows_every_kind_of_run(up: Up) -> None:
    up.stack.services["load"]["command"] = ["load", "--url", "http://api:8000", "--rate", "50", "--most", "45"]
    up.stack.start("load")
    up.stack.wait("load", ended=True)
    with httpx.Client(base_url=up.api, timeout=10, trust_env=False) as client:

        def rehearsed() -> set[str] | None:
            runs = client.get("/runs", params={"pipeline": "rehearsal", "limit": 50}).json()["items"]
            found = {(run["status"], run["attempt"]) for run in runs}
            return found if {("succeeded", 1), ("succeeded", 2), ("failed", 1)} <= found else None

        eventually(rehearsed, what=f"rehearsals of every kind; {up.stack.said('worker')}")


def test_servers_are_set_as_the_system_needs_them(up: Up) -> None:
    asked = up.stack.run("redis", "sh", "-c", "redis-cli config get maxmemory-policy; redis-cli config get maxmemory")
    assert asked.split() == ["maxmemory-policy", "noeviction", "maxmemory", str(256 * 1024 * 1024)]
    refused = up.stack.containers["redis"].exec_run(["env", "-u", "REDISCLI_AUTH", "redis-cli", "ping"]).output
    assert b"NOAUTH" in refused
    url = f"postgresql://throughline:{PASSWORDS['POSTGRES_PASSWORD']}@127.0.0.1/throughline"
    encoding = up.stack.run("postgres", "psql", url, "-tAc", "show server_encoding")
    assert encoding.strip() == "UTF8"


def test_flower_is_for_those_with_the_password(up: Up) -> None:
    assert httpx.get(f"{up.flower}/workers", trust_env=False).status_code == 401
    auth = ("throughline", PASSWORDS["FLOWER_PASSWORD"])

    def seen() -> bool:
        workers = httpx.get(f"{up.flower}/api/workers?refresh=1", auth=auth, trust_env=False, timeout=20).json()
        return len(workers) == 2

    eventually(seen, what="the worker and the cell in Flower")


def test_doctor_finds_everything_in_order(up: Up) -> None:
    said = up.stack.run("worker", "throughline", "doctor")
    assert "bad" not in said


def test_no_password_is_shown_by_what_is_written(up: Up) -> None:
    written = "\n".join(up.stack.containers[name].logs().decode(errors="replace") for name in ORDER)
    assert [name for name, password in PASSWORDS.items() if password in written] == []


def test_each_ends_well_and_in_time_when_it_is_stopped(up: Up) -> None:
    for name in reversed((*OURS, "redis", "postgres")):
        ended = up.stack.stop(name)
        grace = seconds(up.stack.services[name]["stop_grace_period"])
        assert (name, ended.code) == (name, 0), up.stack.said(name)
        assert ended.seconds < grace - 1, name
