"""What the compose stack's servers are given, as far as its text and the programs that check it tell."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from events import AttemptOutcome
from observability import attributes
from observability.metrics import EventOutcome
from settings import WorkerSettings
from tests.support.compose import ROOT, load, merged
from tests.support.promtool import promtool

OBSERVABILITY = ROOT / "observability"
SERVICES = merged()


def collector() -> Any:
    return load(OBSERVABILITY / "collector" / "collector.yml")


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
    ways = {one.value for one in AttemptOutcome} - {"succeeded", "suspended"} | {"stale"}
    assert set(outcome["values"]) == ways
    assert policies["tried-again"]["numeric_attribute"]["key"] == attributes.ATTEMPT
    named = set(re.findall(r'span.attributes\["([^"]+)"\]', str(policies)))
    assert named == {attributes.OUTCOME, attributes.RUN_ID}
    assert f'== "{EventOutcome.ACCEPTED}"' in str(policies["unfinished"])


def test_the_collector_gives_memory_back_before_it_refuses_data_and_refuses_before_it_is_killed() -> None:
    environment = SERVICES["collector"]["environment"]
    limiter = collector()["processors"]["memory_limiter"]
    most = int(environment["COLLECTOR_MEMORY_MIB"])
    spike = int(_default(limiter["spike_limit_mib"]))
    assert _default(limiter["limit_mib"]) == environment["COLLECTOR_MEMORY_MIB"]
    assert int(environment["GOMEMLIMIT"].removesuffix("MiB")) <= most - spike
    assert most < int(SERVICES["collector"]["mem_limit"].removesuffix("m"))


def test_what_the_collector_is_tested_as_is_what_the_stack_runs() -> None:
    manifest = load(ROOT / ".ci" / "collector.yml")
    name, _, _ = SERVICES["collector"]["image"].partition("@")
    assert name.rpartition(":")[2] == manifest["dist"]["version"]


@pytest.mark.parametrize("name", ["tempo", "loki"])
def test_what_a_backend_keeps_it_keeps_in_its_volume(name: str) -> None:
    """Their own programs don't check these files here; at least all that they write to is theirs to write to."""
    volumes = [one.split(":")[1] for one in SERVICES[name]["volumes"] if not one.startswith(".")]
    text = (OBSERVABILITY / name / f"{name}.yml").read_text(encoding="utf-8")
    paths = re.findall(r": (/\S+)$", text, re.MULTILINE)
    assert paths
    assert [path for path in paths if not any(path == one or path.startswith(f"{one}/") for one in volumes)] == []
