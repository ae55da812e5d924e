import pytest

from pipelines import PipelineRegistry
from settings import PipelineSettings, Settings, WorkerSettings
from tests.support.flows import parked, steady
from throughline.doctor import Verdict
from throughline.doctor.pipelines import examine_pipelines
from throughline.local.up import show_unserved
from throughline.unserved import unserved_queues

REGISTRY = PipelineRegistry([parked, steady])


def test_a_queue_that_no_worker_takes_is_told_with_its_pipeline_and_what_to_set() -> None:
    (unserved,) = unserved_queues(REGISTRY, WorkerSettings())
    assert str(unserved) == "pipeline parked: no worker takes runs from queue 'slow'"
    assert unserved.mend == """THROUGHLINE_WORKER_QUEUES='["default", "slow"]'"""


@pytest.mark.parametrize(
    "settings", [WorkerSettings(queues=("slow", "default")), WorkerSettings(queues=("default",), cell_queue="slow")]
)
def test_a_queue_that_somebody_takes_is_not_told(settings: WorkerSettings) -> None:
    assert unserved_queues(REGISTRY, settings) == []


def test_up_says_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_unserved(REGISTRY, WorkerSettings())
    (line,) = capsys.readouterr().out.splitlines()
    assert "parked" in line
    assert """THROUGHLINE_WORKER_QUEUES='["default", "slow"]'""" in line


def test_the_doctor_warns_of_it_and_not_where_the_settings_are_the_cells() -> None:
    modules = PipelineSettings(modules=("tests.support.flows",), builtin=False)
    found = list(examine_pipelines(Settings(pipelines=modules)))
    assert [(one.subject, one.verdict) for one in found] == [
        ("pipelines", Verdict.GOOD),
        ("queue slow", Verdict.WARNING),
    ]
    assert """THROUGHLINE_WORKER_QUEUES='["default", "slow"]'""" in found[1].mend
    cell = Settings(pipelines=modules, worker=WorkerSettings(cell=True))
    assert [one.subject for one in examine_pipelines(cell)] == ["pipelines"]
