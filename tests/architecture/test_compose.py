"""The compose stack and its configurations, as far as their text and the programs that check it tell."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from events import AttemptOutcome
from observability import attributes
from observability.metrics import EventOutcome
from settings import VERSION, WorkerSettings
from tests.support.compose import BASE, OVERRIDE, PASSWORDS, ROOT, read, services
from tests.support.promtool import promtool
from throughline.load.flows import TYPE

OBSERVABILITY = ROOT / "observability"
NO_PROGRAM = {"collector", "tempo"}
"""Images with nothing in them but the server: a health check has no program to run."""
ONE_SHOT = {"migrate"}
UNCHECKED = {"load"}
"""It serves nothing."""


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


BASES, OVERRIDES = load(BASE)["services"], load(OVERRIDE)["services"]


def merged() -> dict[str, dict[str, Any]]:
    """The services with what the override changes, closely enough for fields that are set in one file only."""
    return {name: {**BASES.get(name, {}), **OVERRIDES.get(name, {})} for name in {**BASES, **OVERRIDES}}


SERVICES = merged()
EACH = pytest.mark.parametrize("name", sorted(SERVICES))


def collector() -> Any:
    return load(OBSERVABILITY / "collector" / "collector.yml")


@EACH
def test_an_image_is_named_with_its_version(name: str) -> None:
    image = re.sub(r"\$\{\w+:-(.+)\}", r"\1", SERVICES[name]["image"])
    assert re.fullmatch(r"[a-z/-]+:v?\d+\.\d+[\w.-]*", image), image


def test_our_own_image_has_our_version() -> None:
    own = [one["image"] for one in SERVICES.values() if "build" in one]
    assert len(own) == 7
    assert set(own) == {"${THROUGHLINE_IMAGE:-throughline:" + VERSION + "}"}
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG VERSION={VERSION}\n" in dockerfile
    (default,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", dockerfile, re.MULTILINE)
    assert BASES["api"]["build"]["args"]["BASE_IMAGE"] == "${BASE_IMAGE:-" + default + "}"


@EACH
def test_a_service_is_bounded_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"]
    assert service["networks"] == ["throughline"]
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")
    assert "stop_grace_period" in service or name in ONE_SHOT


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


@EACH
def test_our_processes_may_do_nothing_that_they_need_not(name: str) -> None:
    service = SERVICES[name]
    if "build" not in service:
        return
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
        assert "THROUGHLINE_DATABASE_URL" in both[name]["environment"]
    assert {one["logging"]["driver"] for name, one in both.items() if name in BASES} == {"fluentd"}


def test_compose_says_which_password_is_missing() -> None:
    for name in PASSWORDS:
        others = {key: value for key, value in PASSWORDS.items() if key != name}
        done = read(BASE, OVERRIDE, environment=others)
        assert done.returncode != 0
        assert name in done.stderr
        assert "docs/compose.md" in done.stderr


def laid_out(service: str, home: Path) -> Path:
    """What a service has mounted below its /etc, under ``home``."""
    for volume in SERVICES[service]["volumes"]:
        source, target, *_ = volume.split(":")
        if not source.startswith(".") or not target.startswith("/etc/"):
            continue
        place = home / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / source).is_dir() else shutil.copy)(ROOT / source, place)
    return home / "etc"


def test_prometheus_takes_its_configuration_as_it_is_mounted(tmp_path: Path) -> None:
    said = promtool("check", "config", str(laid_out("prometheus", tmp_path) / "prometheus" / "prometheus.yml"))
    rules = len(list((OBSERVABILITY / "alerts" / "rules").glob("*.yml")))
    assert said.count("rules found") == rules
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_alertmanager_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("amtool")
    if program is None:
        pytest.skip("amtool isn't installed (Debian: prometheus-alertmanager)")
    file = laid_out("alertmanager", tmp_path) / "alertmanager" / "alertmanager.yml"

    def amtool(*arguments: str) -> str:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "SUCCESS" in amtool("check-config", str(file))
    for severity in ("page", "ticket"):
        route = ("config", "routes", "test", f"--config.file={file}")
        assert amtool(*route, f"severity={severity}", "alertname=ThroughlineApiErrors").strip() == severity


def test_alertmanager_needs_no_secret_and_knows_the_alerts_that_it_names() -> None:
    config = load(OBSERVABILITY / "alertmanager" / "alertmanager.yml")
    assert config["receivers"] == [{"name": "page"}, {"name": "ticket"}]
    rules = [rule for file in (OBSERVABILITY / "alerts" / "rules").glob("*.yml") for rule in _rules(file)]
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    matchers = [
        one for rule in config["inhibit_rules"] for key in ("source", "target") for one in rule[f"{key}_matchers"]
    ]
    patterns = [re.split(r"=~?", one, maxsplit=1)[1].strip('"') for one in matchers if one.startswith("alertname")]
    assert len(patterns) == 4
    for pattern in patterns:
        for alternative in pattern.split("|"):
            assert any(re.fullmatch(alternative, alert) for alert in alerts), alternative


def _rules(file: Path) -> list[dict[str, Any]]:
    return [rule for group in load(file)["groups"] for rule in group["rules"]]


def test_prometheus_scrapes_every_process_where_it_serves_its_metrics() -> None:
    config = load(OBSERVABILITY / "prometheus" / "compose.yml")
    targets: dict[str, set[str]] = {}
    for job in config["scrape_configs"]:
        static = {target for one in job.get("static_configs", []) for target in one["targets"]}
        names = {f"{name}:{one['port']}" for one in job.get("dns_sd_configs", []) for name in one["names"]}
        targets[job["job_name"]] = static | names
    port = WorkerSettings().metrics_port
    assert targets["throughline-api"] == {"api:8000"}
    assert targets["throughline-relay"] == {"relay:9101"}
    assert targets["throughline-worker"] == {f"worker:{port}", f"cell:{port + 1}"}
    assert targets["throughline-flower"] == {"flower:5555"}
    hosts = {target.rpartition(":")[0] for found in targets.values() for target in found} - {"127.0.0.1"}
    assert hosts <= set(SERVICES)
    local = load(OBSERVABILITY / "prometheus" / "prometheus.yml")
    assert config["global"] == local["global"]
    assert config["storage"] == local["storage"]


def test_who_sends_to_another_sends_to_where_that_listens() -> None:
    exporters = collector()["exporters"]
    tempo = load(OBSERVABILITY / "tempo" / "tempo.yml")
    loki = load(OBSERVABILITY / "loki" / "loki.yml")
    sources = load(OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "throughline.yml")["datasources"]
    urls = {source["uid"]: source["url"] for source in sources}
    assert urls == {
        "prometheus": "http://prometheus:9090",
        "tempo": f"http://tempo:{tempo['server']['http_listen_port']}",
        "loki": f"http://loki:{loki['server']['http_listen_port']}",
    }
    otlp = tempo["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    assert _default(exporters["otlp_http/tempo"]["endpoint"]) == f"http://tempo:{otlp}"
    assert _default(exporters["otlp_http/loki"]["endpoint"]) == f"{urls['loki']}/otlp"
    receivers = collector()["receivers"]
    assert _default(receivers["otlp"]["protocols"]["http"]["endpoint"]) == "0.0.0.0:4318"
    assert _default(receivers["fluent_forward"]["endpoint"]) == "0.0.0.0:24224"
    assert SERVICES["collector"]["ports"] == ["127.0.0.1:${COLLECTOR_FLUENT_PORT:-24224}:24224"]
    (boards,) = load(OBSERVABILITY / "grafana" / "provisioning" / "dashboards" / "throughline.yml")["providers"]
    assert f"./observability/dashboards/json:{boards['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def _default(value: str) -> str:
    return re.sub(r"^\$\{env:\w+:-(.+)\}$", r"\1", value)


def test_sampling_goes_by_attributes_that_spans_have() -> None:
    policies = {policy["name"]: policy for policy in collector()["processors"]["tail_sampling"]["policies"]}
    outcome = policies["not-at-once"]["string_attribute"]
    assert outcome["key"] == attributes.OUTCOME
    ways = {one.value for one in AttemptOutcome} - {"succeeded"} | {"stale"}
    assert set(outcome["values"]) == ways
    assert policies["tried-again"]["numeric_attribute"]["key"] == attributes.ATTEMPT
    named = set(re.findall(r'span.attributes\["([^"]+)"\]', str(policies)))
    assert named == {attributes.OUTCOME, attributes.RUN_ID}
    assert f'== "{EventOutcome.ACCEPTED}"' in str(policies["unfinished"])


def test_what_the_collector_is_tested_as_is_what_the_stack_runs() -> None:
    manifest = load(ROOT / ".ci" / "collector.yml")
    assert SERVICES["collector"]["image"].rpartition(":")[2] == manifest["dist"]["version"]


def test_the_load_is_for_a_pipeline_that_the_stack_loads() -> None:
    modules = BASES["worker"]["environment"]["THROUGHLINE_PIPELINES_MODULES"]
    assert modules == '${THROUGHLINE_PIPELINES_MODULES:-["throughline.load.flows"]}'
    assert TYPE.startswith("throughline.")
    assert BASES["load"]["profiles"] == ["load"]


@pytest.mark.parametrize("name", ["tempo", "loki"])
def test_what_a_backend_keeps_it_keeps_in_its_volume(name: str) -> None:
    """Their own programs don't check these files here; at least all that they write to is theirs to write to."""
    volumes = [one.split(":")[1] for one in SERVICES[name]["volumes"] if not one.startswith(".")]
    text = (OBSERVABILITY / name / f"{name}.yml").read_text(encoding="utf-8")
    paths = re.findall(r": (/\S+)$", text, re.MULTILINE)
    assert paths
    assert [path for path in paths if not any(path == one or path.startswith(f"{one}/") for one in volumes)] == []
