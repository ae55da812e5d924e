import pytest

from benchmarks.tuning import SETTINGS, Setting, compare
from settings import Settings


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.title)
def test_every_setting_that_is_tried_is_one_and_its_variable_sets_it(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in setting.environment(7).items():
        monkeypatch.setenv(variable, value)
    assert getattr(getattr(Settings(), setting.group), setting.name) == 7


def test_the_default_is_not_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THROUGHLINE_WORKER_SLOTS", "3")
    assert Setting("worker", "slots").default == 256


@pytest.mark.parametrize(("name", "values"), [("slots", (256, 128, 512, 1024)), ("prefetch_multiplier", (1, 2, 4))])
def test_half_twice_and_four_times_are_tried_and_never_none(name: str, values: tuple[int, ...]) -> None:
    assert Setting("worker", name).values() == values


def test_medians_are_compared_with_those_of_the_default() -> None:
    measured = {
        8: {"drain": [100.0, 300.0, 2_000.0], "idle p50": [10.0]},
        4: {"drain": [150.0], "idle p50": [11.0, 5.0, 20.0]},
    }
    assert list(compare(measured, 8)) == [
        (4, {"drain": 0.5, "idle p50": 1.1}),
        (8, {"drain": 1.0, "idle p50": 1.0}),
    ]
