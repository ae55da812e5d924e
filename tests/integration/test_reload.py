"""Reload on change, with the real supervisor and processes."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from throughline.local.reload import Reloader
from throughline.local.watching import Watch
from throughline.supervision import ProcessService, Supervisor

SERVE = "import time, reloaded.flow as flow; print('serves', flow.VALUE, flush=True); time.sleep(600)"
CHECK = """
try:
    import reloaded.flow
except Exception as error:
    print("error: reloaded/flow.py:1:", error)
    raise SystemExit(1)
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reloaded").mkdir()
    (tmp_path / "reloaded/__init__.py").touch()
    (tmp_path / "reloaded/flow.py").write_text("VALUE = 'first'\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "reloaded"]:
        sys.modules.pop(name)


class Stage:
    """A service that imports the module, and one that doesn't."""

    def __init__(self, project: Path, supervisor: Supervisor) -> None:
        self.supervisor = supervisor
        self.said: list[str] = []
        self.warned: list[str] = []
        environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
        self.log = project / "runner.log"
        self.other = ProcessService("other", [sys.executable, "-c", "import time; time.sleep(600)"], logs=project)
        runner = ProcessService("runner", [sys.executable, "-c", SERVE], logs=project, env=environment)
        supervisor.start(runner, self.other)
        self.reloader = Reloader(
            Watch(["reloaded"]),
            check=ProcessService("check", [sys.executable, "-c", CHECK], logs=project, env=environment),
            restart=self.restart,
            say=self.said.append,
            warn=self.warned.append,
        )

    def restart(self) -> tuple[str]:
        self.supervisor.restart("runner")
        return ("runner",)

    def served(self) -> list[str]:
        return [line.split()[1] for line in self.log.read_text().splitlines() if line.startswith("serves")]

    def until(self, condition: Callable[[], bool]) -> None:
        def looked() -> bool:
            self.reloader.step()
            return condition()

        assert self.supervisor.watch(until=looked, timeout=60), (self.said, self.warned, self.log.read_text())


def test_a_change_restarts_what_imports_it_and_nothing_else(project: Path) -> None:
    with Supervisor() as supervisor:
        stage = Stage(project, supervisor)
        stage.until(lambda: stage.served() == ["first"])
        other = stage.other.pid
        (project / "reloaded/flow.py").write_text("VALUE = 'second'\n")
        stage.until(lambda: stage.served() == ["first", "second"])
        assert stage.said == ["reloaded/flow.py changed: restarting runner"]
        assert (stage.other.pid, stage.other.exit_code(), stage.warned) == (other, None, [])


def test_a_broken_file_leaves_everything_alone_and_is_told_in_one_line_and_its_mend_restarts(project: Path) -> None:
    with Supervisor() as supervisor:
        stage = Stage(project, supervisor)
        stage.until(lambda: stage.served() == ["first"])
        (project / "reloaded/flow.py").write_text("VALUE = 'broken\n")
        stage.until(lambda: bool(stage.warned))
        (line,) = stage.warned
        assert line.startswith(
            "reloaded/flow.py changed, what runs goes on as it was: reloaded/flow.py:1: unterminated"
        )
        assert (stage.served(), stage.said) == (["first"], [])
        (project / "reloaded/flow.py").write_text("VALUE = 'mended'\n")
        stage.until(lambda: stage.served() == ["first", "mended"])
        assert len(stage.warned) == 1


def test_a_new_file_of_the_package_and_one_that_goes_are_changes(project: Path) -> None:
    watch = Watch(["reloaded"])
    assert watch.changed() == []
    added = project / "reloaded/deep/more.py"
    added.parent.mkdir()
    added.write_text("x = 1\n")
    assert watch.changed() == [added]
    added.unlink()
    assert watch.changed() == [added]
    assert watch.changed() == []


def test_a_module_that_is_one_file_is_watched_alone(project: Path) -> None:
    (project / "single_flow.py").write_text("x = 1\n")
    watch = Watch(["single_flow", "not_there_at_all"])
    (project / "beside.py").write_text("x = 1\n")
    (project / "single_flow.py").write_text("x = 10\n")
    assert watch.changed() == [project / "single_flow.py"]


def test_what_a_module_imports_from_its_own_package_is_watched_with_it(project: Path) -> None:
    (project / "reloaded/helping.py").write_text("x = 1\n")
    (project / "reloaded/unused.py").write_text("x = 1\n")
    (project / "reloaded/flow.py").write_text("import reloaded.helping\n")
    importlib.import_module("reloaded.flow")
    watch = Watch(["reloaded.flow"])
    (project / "reloaded/unused.py").write_text("x = 10\n")
    (project / "reloaded/helping.py").write_text("x = 10\n")
    assert watch.changed() == [project / "reloaded/helping.py"]
