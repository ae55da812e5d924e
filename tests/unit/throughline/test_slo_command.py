from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from observability.alerts import render_files
from pipelines import PipelineRegistry
from settings import Settings
from throughline.cli.main import app
from throughline.cli.slo import plan_of
from throughline.errors import FolderUnusable


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["slo", "rules", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_rules_are_written_a_file_a_subject(tmp_path: Path) -> None:
    run("--out", str(tmp_path / "rules"))
    written = {path.name: path.read_text() for path in (tmp_path / "rules").iterdir()}
    assert written == render_files(plan_of(PipelineRegistry.load(), Settings()))


def test_the_rules_are_printed_scaled_and_with_links_to_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_SLO_INGEST_SHARE", "0.95")
    printed = run("--scale", "0.1", "--runbook", "https://wiki/runbook", "--dashboards", "https://boards/")
    rules = [rule for group in yaml.safe_load(printed)["groups"] for rule in group["rules"]]
    [down] = (rule for rule in rules if rule.get("alert") == "ThroughlineTargetDown")
    assert down["for"] == "30s"
    assert down["annotations"]["runbook_url"] == "https://wiki/runbook#throughlinetargetdown"
    assert down["annotations"]["dashboard_url"] == "https://boards/d/throughline-telemetry"
    budgets = {
        rule["labels"]["sli"]: rule["expr"] for rule in rules if rule.get("record") == "throughline:slo_budget:ratio"
    }
    assert budgets["ingest"] == "vector(0.05)"


def test_a_pipeline_of_ones_own_is_held_to_what_it_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_PIPELINES_MODULES", '["tests.support.flows"]')
    monkeypatch.setenv("THROUGHLINE_PIPELINES_BUILTIN", "false")
    rules = [rule for group in yaml.safe_load(run())["groups"] for rule in group["rules"]]
    targets = {
        rule["labels"]["queue"]: rule["expr"]
        for rule in rules
        if rule.get("record") == "throughline:queue_target:seconds"
    }
    assert targets == {"default": "vector(4)", "slow": "vector(30)"}
    assert {rule["labels"]["queue"] for rule in rules if rule.get("alert") == "ThroughlineNoWorker"} == {
        "default",
        "slow",
        "cell",
    }


@pytest.mark.parametrize("command", [["slo", "rules"], ["dashboards"]])
def test_a_folder_that_cant_be_written_is_named(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match="file/out can't be written: Not a directory; choose a folder"):
        CliRunner().invoke(app, [*command, "--out", str(tmp_path / "file" / "out")], catch_exceptions=False)
