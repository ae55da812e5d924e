"""The commands for who writes pipelines, as they are called."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.support.system import QUESTION
from throughline.cli.main import app


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "event.json").write_text(json.dumps(QUESTION))
    return tmp_path


def call(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, ["pipelines", *arguments], input=given)


def test_run_shows_the_line_and_the_outputs_and_ends_with_0() -> None:
    ended = call("run", "issue_triage", "event.json")
    assert ended.exit_code == 0, ended.output
    assert "issue_triage v1  succeeded in" in ended.output
    assert 'route_issue  "answer"' in ended.output


def test_run_reads_standard_input_and_prints_json() -> None:
    ended = call("run", "issue_triage", "-", "--json", given=json.dumps(QUESTION))
    assert ended.exit_code == 0, ended.output
    story = json.loads(ended.stdout)
    assert (story["status"], story["pipeline"]) == ("succeeded", "issue_triage")
    assert {node["node"]: node["status"] for node in story["nodes"]}["escalate"] == "skipped"


def test_run_takes_an_output_in_the_place_of_a_call_and_fails_with_1_when_the_run_does() -> None:
    ended = call("run", "issue_triage", "event.json", "--output", 'route_issue="label_issue"')
    assert ended.exit_code == 0, ended.output
    assert "route_issue: its output was given" in ended.output
    assert call("run", "issue_triage", "event.json", "--output", 'route_issue="nowhere"').exit_code == 1
    assert call("run", "issue_triage", "event.json", "--output", "route_issue").exit_code == 2


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"type": "github.issues", "data": {"action": "opened"}}, "data.issue: Field required"),
        ({"type": "shop.order", "data": {}}, "pipeline 'issue_triage' takes github.issues, not shop.order"),
    ],
)
def test_run_refuses_what_the_pipeline_would_not_get(event: dict[str, object], said: str) -> None:
    ended = call("run", "issue_triage", "-", given=json.dumps(event))
    assert ended.exit_code == 1
    assert said in ended.stderr


def test_a_pipeline_that_is_not_there_is_told_with_those_that_may_be_meant() -> None:
    ended = call("graph", "issue_triag")
    assert ended.exit_code == 1
    assert "there is no pipeline issue_triag; there is issue_triage" in ended.stderr


def test_graph_prints_mermaid_and_writes_svg(folder: Path) -> None:
    assert call("graph", "issue_triage").stdout.startswith("flowchart TD\n")
    ended = call("graph", "issue_triage", "--format", "svg", "--output", "pictures/triage.svg")
    assert ended.exit_code == 0, ended.output
    assert (folder / "pictures/triage.svg").read_text().startswith("<svg ")


def test_check_is_content_with_what_there_is_and_fails_with_a_module_that_is_not_there() -> None:
    assert call("check").exit_code == 0
    ended = call("check", "nowhere", "--json")
    assert ended.exit_code == 1
    (finding,) = json.loads(ended.stdout)["findings"]
    assert (finding["level"], finding["module"]) == ("error", "nowhere")


def test_new_says_what_to_do_next(folder: Path) -> None:
    ended = call("new", "intake", "--into", "acme")
    assert ended.exit_code == 0, ended.output
    assert "made acme/intake.py" in ended.output
    assert "export THROUGHLINE_PIPELINES_MODULES=" in ended.output
    assert (folder / "tests/test_intake.py").exists()
