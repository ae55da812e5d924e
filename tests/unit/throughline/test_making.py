"""What ``throughline pipelines new`` writes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from events import ConfigurationError
from pipelines import PipelineError
from tests.support.system import ROOT
from throughline.making import make_pipeline
from throughline.making.make import NotOverwritten


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*command: str, project: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env={"PYTHONPATH": f"{project}:{ROOT}", "MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(project)},
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("into", [Path("acme/flows"), Path("flows"), Path()])
def test_what_is_made_passes_its_test_and_the_linter(project: Path, into: Path) -> None:
    made = make_pipeline("order_intake", into=into)
    inits = [folder / "__init__.py" for folder in reversed((into, *into.parents)) if folder != Path()]
    assert made.files == (*inits, into / "order_intake.py", Path("tests/test_order_intake.py"))
    shutil.copy(ROOT / "pyproject.toml", project)
    call("ruff", "check", "--no-cache", ".", project=project)
    call("ruff", "format", "--no-cache", "--check", ".", project=project)
    call("pytest", "-q", "-p", "no:cacheprovider", "tests/test_order_intake.py", project=project)


@pytest.mark.verify
def test_what_is_made_passes_mypy_strict(project: Path) -> None:
    made = make_pipeline("order_intake", into=Path("acme/flows"))
    config = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (project / "pyproject.toml").write_text(config.replace("packages = [", "exclude = ["), encoding="utf-8")
    files = [str(path) for path in made.files]
    call("mypy", "--strict", "--cache-dir", str(project / "cache"), *files, project=project)


def test_beside_the_engine_it_is_sorted_as_a_part_of_it(project: Path) -> None:
    for folder in ("events", "pipelines/flows", "pipelines/testing", "tests/unit/pipelines/flows"):
        (project / folder).mkdir(parents=True)
        (project / folder / "__init__.py").touch()
    shutil.copy(ROOT / "pyproject.toml", project)
    for name in ("__init__.py", "pipeline.py"):
        shutil.copy(ROOT / "pipelines" / name, project / "pipelines")
    made = make_pipeline("intake")
    assert made.files == (Path("pipelines/flows/intake.py"), Path("tests/unit/pipelines/flows/test_intake.py"))
    assert not any("THROUGHLINE_PIPELINES_MODULES" in command for _, command in made.next_steps)
    call("ruff", "check", "--no-cache", *map(str, made.files), project=project)


def test_nothing_is_overwritten_and_nothing_is_written_half(project: Path) -> None:
    (project / "tests").mkdir()
    (project / "tests/test_intake.py").write_text("mine")
    with pytest.raises(NotOverwritten, match=r"tests/test_intake.py is there already"):
        make_pipeline("intake", into=Path("flows"))
    assert (project / "tests/test_intake.py").read_text() == "mine"
    assert not (project / "flows").exists()


def test_a_package_that_is_there_keeps_its_init(project: Path) -> None:
    (project / "acme").mkdir()
    (project / "acme/__init__.py").write_text("KEPT = 1\n")
    made = make_pipeline("intake", into=Path("acme"))
    assert Path("acme/__init__.py") not in made.files
    assert (project / "acme/__init__.py").read_text() == "KEPT = 1\n"


@pytest.mark.parametrize("name", ["Intake", "9lives", "a-b", "", "../up"])
def test_a_name_that_no_pipeline_may_have_is_refused(name: str) -> None:
    with pytest.raises(PipelineError, match="lower-case"):
        make_pipeline(name)


@pytest.mark.parametrize(("into", "said"), [("/nowhere/else", "not beneath"), ("my-flows", "no name of a package")])
def test_a_folder_that_cannot_be_imported_from_is_refused(into: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        make_pipeline("intake", into=Path(into))


def test_what_to_do_next_is_said_with_the_module_and_an_event() -> None:
    commands = [command for _, command in make_pipeline("intake", into=Path("acme")).next_steps]
    assert commands[0] == """export THROUGHLINE_PIPELINES_MODULES='["acme.intake"]'"""
    assert '"type": "intake.received"' in commands[1]


@pytest.mark.parametrize("name", ["class", "events", "json"])
def test_a_name_that_no_import_finds_or_that_hides_a_module_is_refused(project: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.*choose another name"):
        make_pipeline(name)
    assert list(project.iterdir()) == []


def test_in_a_package_a_module_may_be_named_as_one_outside_is(project: Path) -> None:
    make_pipeline("events", into=Path("acme"))
    assert (project / "acme" / "events.py").exists()
    with pytest.raises(ConfigurationError, match="'class' is no name of a package"):
        make_pipeline("orders", into=Path("acme/class"))
