from pathlib import Path

from typer.testing import CliRunner

from observability.dashboards import render_dashboards
from throughline.cli.main import app


def test_the_boards_are_written_where_one_wants_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "boards"
    result = CliRunner().invoke(app, ["dashboards", "--out", str(out)])
    assert result.exit_code == 0
    assert {path.name: path.read_text(encoding="utf-8") for path in out.iterdir()} == render_dashboards()
    assert sorted(result.stdout.split()) == sorted(str(path) for path in out.iterdir())
