import re
from pathlib import Path

import pytest
import yaml

from observability.alerts import FILES, Alert, Plan, render_files
from observability.metrics import catalogue
from pipelines import PipelineRegistry
from settings import Settings, setting_references
from tests.support.promtool import promtool
from throughline.cli.slo import plan_of

ROOT = Path(__file__).parents[2]
RULES = ROOT / "observability" / "alerts" / "rules"
PROMETHEUS = ROOT / "observability" / "prometheus" / "prometheus.yml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", RUNBOOK, re.DOTALL | re.MULTILINE))


def plan() -> Plan:
    return plan_of(PipelineRegistry.load(), Settings())


def alerts() -> dict[str, Alert]:
    """Those of every file, also of one that is switched off."""
    return {rule.name: rule for file in FILES for rule in file.rules(plan()) if isinstance(rule, Alert)}


def test_the_rules_that_are_kept_are_those_of_the_pipelines_that_come_along() -> None:
    """``throughline slo rules --out observability/alerts/rules`` brings them up to date."""
    assert {path.name: path.read_text(encoding="utf-8") for path in RULES.iterdir()} == render_files(plan())


def test_every_alert_has_a_section_and_every_section_an_alert() -> None:
    assert set(SECTIONS) == set(alerts())


def test_every_alert_is_seen_on_the_running_system() -> None:
    proofs = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests/end_to_end").glob("test_alerts*.py"))
    assert {name for name in alerts() if f'"{name}"' not in proofs} == set()


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_a_section_says_what_it_means_how_to_look_and_what_to_do(alert: str) -> None:
    assert re.findall(r"^\*\*(\w+)\*\*: \S", SECTIONS[alert], re.MULTILINE) == ["Means", "Look", "Do"]


def test_every_anchor_of_the_runbook_leads_to_a_heading() -> None:
    titles = re.findall(r"^#+ (.+)$", RUNBOOK, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    urls = [rule.document(plan().links)["annotations"]["runbook_url"] for rule in alerts().values()]
    assert {url.partition("#")[2] for url in urls} <= headings
    assert set(re.findall(r"\(#([\w-]+)\)", RUNBOOK)) <= headings


def test_every_setting_and_metric_that_the_runbook_names_is_there() -> None:
    variables = {reference.variable for reference in setting_references()}
    named = set(re.findall(r"THROUGHLINE_[A-Z_]+", RUNBOOK))
    assert {name for name in named if not any(one.startswith(name) for one in variables)} == set()
    assert set(re.findall(r"throughline_[a-z_]+", RUNBOOK)) <= {metric.name for metric in catalogue}


def test_promtool_takes_the_configuration_that_is_shipped() -> None:
    promtool("check", "config", str(PROMETHEUS))


def test_the_configuration_scrapes_what_throughline_up_serves() -> None:
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]
    }
    settings = Settings()
    child_of_the_cell = settings.worker.metrics_port + 2
    assert jobs == {
        "throughline-api": [f"127.0.0.1:{settings.api.port}"],
        "throughline-relay": [f"127.0.0.1:{settings.relay.metrics_port}"],
        "throughline-worker": [f"127.0.0.1:{settings.worker.metrics_port}", f"127.0.0.1:{child_of_the_cell}"],
        "throughline-flower": [f"127.0.0.1:{settings.flower.port}"],
    }
