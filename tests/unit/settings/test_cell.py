import pytest
from pydantic import ValidationError

from settings import SettingsError, WorkerSettings, load_settings

CELL = {"pool": "prefork", "concurrency": 1, "slots": 1, "prefetch_multiplier": 1, "queues": ("cell",)}


def test_the_cell_is_one_child_with_one_run_on_its_own_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_WORKER_CELL", "true")
    worker = load_settings().worker
    assert {name: getattr(worker, name) for name in CELL} == CELL


def test_the_cell_follows_the_name_of_its_queue() -> None:
    assert WorkerSettings(cell=True, cell_queue="ward").queues == ("ward",)


def test_what_the_cell_implies_may_be_said_all_the_same() -> None:
    assert WorkerSettings.model_validate({"cell": True, **CELL}) == WorkerSettings(cell=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POOL", "threads"),
        ("CONCURRENCY", "2"),
        ("SLOTS", "2"),
        ("PREFETCH_MULTIPLIER", "2"),
        ("QUEUES", '["default","cell"]'),
    ],
)
def test_a_setting_that_would_give_a_suspect_company_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("THROUGHLINE_WORKER_CELL", "true")
    monkeypatch.setenv(f"THROUGHLINE_WORKER_{name}", value)
    with pytest.raises(SettingsError, match=f"leave THROUGHLINE_WORKER_{name} unset"):
        load_settings()


def test_other_workers_keep_off_the_cells_queue() -> None:
    with pytest.raises(ValidationError, match="only the cell consumes 'cell'"):
        WorkerSettings(queues=("default", "cell"))
