import re
from itertools import groupby
from pathlib import Path

import pytest
import yaml

from observability.alerts import FILES, Alert, Plan, TimeScale, render
from observability.alerts.rendering import metrics_named
from observability.metrics import catalogue
from pipelines import PipelineRegistry
from settings import Settings
from tests.support.alert_cases import processes, queues, runs, slo, stores
from tests.support.promtool import PLAN, Case, Kind, judge, promtool
from throughline.cli.slo import plan_of

CASES: tuple[Case, ...] = (*slo.CASES, *queues.CASES, *runs.CASES, *processes.CASES, *stores.CASES)
RULES = tuple(rule for file in FILES for rule in file.rules(PLAN))
ALERTS = {rule.name: rule for rule in RULES if isinstance(rule, Alert)}
METRICS = {metric.name for metric in catalogue}


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    cases = [case for case in CASES if case.alert == alert]
    assert {case.kind for case in cases} == set(Kind)
    for number, (_, alike) in enumerate(groupby(cases, key=lambda case: case.interval)):
        folder = tmp_path / str(number)
        folder.mkdir()
        judge(list(alike), folder)


def test_every_case_is_of_an_alert_that_there_is() -> None:
    assert {case.alert for case in CASES} == set(ALERTS)


@pytest.mark.parametrize("scale", [1.0, 0.01])
def test_promtool_finds_no_fault_with_the_rules_at_any_scale(scale: float, tmp_path: Path) -> None:
    plan = Plan(objectives=PLAN.objectives, queues=PLAN.queues, scale=TimeScale(scale))
    (tmp_path / "rules.yml").write_text(render(plan, files=FILES))
    promtool("check", "rules", "--lint-fatal", str(tmp_path / "rules.yml"))


def test_every_metric_that_a_rule_names_is_in_the_catalogue() -> None:
    """What is switched off until its metrics are there is not rendered."""
    assert metrics_named(rule for file in FILES if file.is_on(PLAN) for rule in file.rules(PLAN)) <= METRICS


def test_a_file_is_switched_off_for_want_of_a_metric_alone() -> None:
    for file in FILES:
        assert file.is_on(PLAN) or metrics_named(file.rules(PLAN)) - METRICS
        assert file.optional or file.is_on(PLAN)


def test_histograms_are_known_by_their_parts() -> None:
    [rule] = (rule for rule in RULES if isinstance(rule, Alert) and rule.name == "ThroughlineApiErrors")
    assert metrics_named([rule]) == {"http_server_request_duration_seconds"}


@pytest.mark.parametrize("rule", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_all_that_it_must(rule: Alert) -> None:
    document = yaml.safe_load(yaml.safe_dump(rule.document(PLAN.links)))
    annotations = document["annotations"]
    assert document["labels"]["severity"] in {"page", "ticket"}
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert all(annotations.values())
    assert re.fullmatch(
        r"http://localhost:3000/d/throughline-(slo|api|queues|pipelines|stores|telemetry)(\?var-.*)?",
        annotations["dashboard_url"],
    )


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_a_text_names_only_labels_that_the_alert_has(alert: str) -> None:
    fired = [labels for case in CASES if case.alert == alert for firing in case.expect.values() for labels in firing]
    texts = ALERTS[alert].document(PLAN.links)["annotations"]
    for label in re.findall(r"\$labels\.(\w+)", str(texts)):
        assert label == "pipeline" or all(label in labels for labels in fired), label


@pytest.mark.parametrize(
    ("factor", "nominal", "scaled"),
    [
        (1, "5m", "5m"),
        (1, "1d", "1d"),
        (1, "36h", "36h"),
        (0.01, "5m", "3s"),
        (0.01, "2m", "1200ms"),
        (1e-9, "5m", "1ms"),
    ],
)
def test_a_span_is_scaled_and_written_as_promql_has_it(factor: float, nominal: str, scaled: str) -> None:
    assert TimeScale(factor).span(nominal) == scaled


def test_the_rules_are_made_for_what_the_pipelines_promise() -> None:
    plan = plan_of(PipelineRegistry.load(), Settings())
    assert {(one.sli.value, one.pipeline) for one in plan.objectives} == {
        ("ingest", ""),
        *((sli, name) for sli in ("queueing", "execution") for name in ("issue_triage", "repository_activity")),
    }
    assert plan.queues == ("default", "cell")
    assert PLAN.queue_targets() == {"default": 30.0}
