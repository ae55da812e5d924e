"""The compose files, as far as their text and compose's own loader tell."""

import re
from pathlib import Path

import pytest

from settings import VERSION, WorkerSettings
from tests.support.compose import BASE, OVERRIDE, PASSWORDS, ROOT, load, merged, model, read, services
from throughline import probe
from throughline.load.flows import TYPE

NO_PROGRAM = {"collector", "tempo"}
"""Images with nothing in them but the server: a health check has no program to run."""
ONE_SHOT = {"migrate"}
OURS = {"migrate", "api", "relay", "worker", "cell", "flower", "load"}
UNCHECKED = {"load"}
"""It serves nothing."""

BASES, OVERRIDES = load(BASE)["services"], load(OVERRIDE)["services"]
SERVICES = merged()
EACH = pytest.mark.parametrize("name", sorted(SERVICES))


@EACH
def test_an_image_is_named_with_its_version(name: str) -> None:
    image = re.sub(r"\$\{\w+:-(.+)\}", r"\1", SERVICES[name]["image"])
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", image), image


def test_our_own_image_has_our_version() -> None:
    assert {SERVICES[name]["image"] for name in OURS} == {"${THROUGHLINE_IMAGE:-throughline:" + VERSION + "}"}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG VERSION={VERSION}\n" in dockerfile
    (default,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert BASES["migrate"]["build"]["args"]["BASE_IMAGE"] == "${BASE_IMAGE:-" + default + "}"


def test_an_image_is_built_once() -> None:
    """Builds that run side by side and export one name fail, with "already exists"."""
    built = [service["image"] for service in services(BASE, OVERRIDE).values() if service.get("build")]
    assert built == [f"throughline:{VERSION}"]


@EACH
def test_a_service_is_bounded_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["networks"] == ["throughline"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert "stop_grace_period" in service or name in ONE_SHOT


@EACH
def test_a_probe_is_found_whatever_folder_an_image_of_yours_works_in(name: str) -> None:
    check = SERVICES[name].get("healthcheck", {"test": []})["test"]
    for path in (part for part in check if part.endswith("probe.py")):
        assert path == f"/opt/throughline/app/{Path(probe.__file__).relative_to(ROOT)}"


@EACH
def test_a_service_says_whether_it_is_well(name: str) -> None:
    check = SERVICES[name].get("healthcheck")
    if name in NO_PROGRAM | ONE_SHOT | UNCHECKED:
        assert check is None
        return
    assert check["test"][0] in {"CMD", "CMD-SHELL"}
    assert check["interval"]
    assert check["timeout"]
    assert check["retries"]
    assert check["start_period"]
    assert "celery" not in str(check["test"]), "an inspection costs seconds of CPU"


@EACH
def test_who_waits_for_a_healthy_service_waits_for_one_that_says_so(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        other = SERVICES[needed]
        match how["condition"]:
            case "service_healthy":
                assert other.get("healthcheck"), needed
            case "service_completed_successfully":
                assert needed in ONE_SHOT
            case "service_started":
                assert needed in NO_PROGRAM, f"{needed} could be waited for"


@EACH
def test_ports_are_opened_to_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@EACH
def test_what_is_mounted_is_there_and_read_only(name: str) -> None:
    named = load(OVERRIDE)["volumes"] | load(BASE)["volumes"]
    for volume in SERVICES[name].get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert rest.endswith(":ro")
        else:
            assert source in named


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_processes_may_do_nothing_that_they_need_not(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service
    assert "privileged" not in service


def test_a_password_has_no_default_and_stands_in_no_command_line() -> None:
    text = BASE.read_text(encoding="utf-8") + OVERRIDE.read_text(encoding="utf-8")
    uses = re.findall(r"\$\{(\w+_PASSWORD)([^}]*)\}", text)
    assert {name for name, _ in uses} == set(PASSWORDS)
    assert {rest for _, rest in uses if rest} == {":?is not set; make .env of .env.example, see docs/compose.md"}
    for name, service in SERVICES.items():
        assert "${" + "REDIS_PASSWORD" not in str([service.get("command"), service.get("entrypoint")]), name
    example = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert {f"{name}=" for name in PASSWORDS} <= set(example)


def test_a_service_is_told_of_the_servers_that_it_needs_and_of_no_other() -> None:
    secret = {name: f"-{name}-" for name in PASSWORDS}
    read_back = {name: str(service) for name, service in model(BASE, OVERRIDE, environment=secret)["services"].items()}
    know = {key: {name for name, text in read_back.items() if value in text} for key, value in secret.items()}
    assert know == {
        "POSTGRES_PASSWORD": {"postgres", "migrate", "api", "relay", "worker", "cell"},
        "REDIS_PASSWORD": {"redis", "relay", "worker", "cell", "flower"},
        "FLOWER_PASSWORD": {"flower"},
        "GRAFANA_PASSWORD": {"grafana"},
    }


def test_every_variable_of_the_files_is_in_the_example_or_has_a_default() -> None:
    text = BASE.read_text(encoding="utf-8") + OVERRIDE.read_text(encoding="utf-8")
    example = dict(
        line.split("=", 1)
        for line in (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    for name, default in re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", text):
        assert example.get(name, default) == default, name
    assert {name for name in example if name.endswith("_PORT")} == set(re.findall(r"\$\{(\w+_PORT):-", text))


@pytest.mark.parametrize("file", [BASE, OVERRIDE], ids=["base", "override"])
def test_no_image_is_of_any_version(file: Path) -> None:
    assert ":latest" not in file.read_text(encoding="utf-8")


def test_compose_takes_the_base_alone_and_both_together() -> None:
    assert set(services(BASE)) == set(BASES)
    both = services(BASE, OVERRIDE)
    assert set(both) == set(SERVICES)
    for name in ("api", "relay", "worker", "cell"):
        assert both[name]["environment"]["THROUGHLINE_TELEMETRY_ENDPOINT"] == "http://collector:4318"
    assert {one["logging"]["driver"] for name, one in both.items() if name in BASES} == {"fluentd"}


def test_the_example_of_the_page_is_a_prefork_worker_that_can_be_well(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.+?)```", (ROOT / "docs" / "compose.md").read_text(encoding="utf-8"), re.DOTALL)
    mine = tmp_path / "mine.yml"
    mine.write_text(example, encoding="utf-8")
    worker = services(BASE, OVERRIDE, mine)["worker"]
    assert worker["environment"]["THROUGHLINE_WORKER_POOL"] == "prefork"
    assert "THROUGHLINE_DATABASE_URL" in worker["environment"]
    port = WorkerSettings().metrics_port
    assert BASES["worker"]["healthcheck"]["test"][-1] == str(port)
    assert worker["healthcheck"]["test"] == [*BASES["worker"]["healthcheck"]["test"][:-1], str(port + 1)]
    assert worker["healthcheck"]["retries"] == BASES["worker"]["healthcheck"]["retries"]


def test_compose_says_which_password_is_missing() -> None:
    for name in PASSWORDS:
        others = {key: value for key, value in PASSWORDS.items() if key != name}
        done = read(BASE, OVERRIDE, environment=others)
        assert done.returncode != 0
        assert name in done.stderr
        assert "docs/compose.md" in done.stderr


def test_grafana_runs_what_is_in_its_image() -> None:
    environment = SERVICES["grafana"]["environment"]
    fetching = ("PLUGINS_PREINSTALL_AUTO_UPDATE", "ANALYTICS_CHECK_FOR_UPDATES", "ANALYTICS_CHECK_FOR_PLUGIN_UPDATES")
    assert {environment[f"GF_{name}"] for name in fetching} == {"false"}
    assert environment["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"


def test_the_load_is_for_a_pipeline_that_the_stack_loads() -> None:
    modules = BASES["worker"]["environment"]["THROUGHLINE_PIPELINES_MODULES"]
    assert modules == '${THROUGHLINE_PIPELINES_MODULES:-["throughline.load.flows"]}'
    assert TYPE.startswith("throughline.")
    assert BASES["load"]["profiles"] == ["load"]
