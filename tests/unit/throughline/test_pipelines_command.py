import pytest
from typer.testing import CliRunner

from throughline.cli import pipeline_list
from throughline.cli.main import app
from throughline.cli.pipeline_list import OpenRuns


@pytest.fixture(autouse=True)
def _both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_PIPELINES_MODULES", '["tests.support.releases.both"]')
    monkeypatch.setenv("THROUGHLINE_PIPELINES_BUILTIN", "false")
    monkeypatch.setenv("THROUGHLINE_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("COLUMNS", "200")


def rows() -> list[list[str]]:
    done = CliRunner().invoke(app, ["pipelines", "list"])
    assert done.exit_code == 0, done.output
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in done.stdout.splitlines()]


def test_every_version_is_listed_also_where_no_database_answers() -> None:
    head, newest, older, said = rows()
    assert head == ["pipeline", "version", "event types", "queue", "nodes"]
    assert newest == ["grown", "2", "test.grown", "default", "first, slow, check, last"]
    assert older == ["grown", "1", "no new events", "default", "first, slow, last"]
    assert said[0].startswith("open runs are not counted: PostgreSQL: ")


def test_the_open_runs_of_each_version_are_told_also_of_one_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def counted(_: object) -> OpenRuns:
        return {("grown", 1): 3, ("grown", 0): 7, ("gone", 2): 1}

    monkeypatch.setattr(pipeline_list, "_open_runs", counted)
    head, *listed = rows()
    assert head[-1] == "open runs"
    assert [(row[0], row[1], row[2], row[-1]) for row in listed] == [
        ("gone", "2", "not in this code", "1"),
        ("grown", "2", "test.grown", "0"),
        ("grown", "1", "no new events", "3"),
        ("grown", "0", "not in this code", "7"),
    ]
