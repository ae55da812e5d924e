import pytest

from benchmarks.sections import SECTIONS, usual
from benchmarks.telemetry_flow import MODULE
from benchmarks.telemetry_ways import Way, settings_of
from pipelines.discovery import discover
from settings import Settings

KEYS = ("slow", "dead", "on", "sampled", "off")


def _way(key: str) -> Way:
    return Way(key=key, settings={}, sink=None)


@pytest.mark.parametrize("key", KEYS)
def test_a_way_has_a_pipeline_of_its_own_on_a_queue_of_its_own(key: str) -> None:
    mine = [pipeline for pipeline in discover([MODULE], builtin=False) if pipeline.types == (_way(key).type,)]
    assert [(pipeline.queue, f"process {pipeline.name}") for pipeline in mine] == [(key, _way(key).span_names[2])]


def test_a_way_pays_for_its_own_processes_and_those_that_all_share() -> None:
    pids = {"sink": 1, "sink-on": 2, "api-on-1": 3, "api-off-1": 4, "worker-on-2": 5, "relay": 6, "postgres": 7}
    assert _way("on").own(pids) == {"sink-on": 2, "api-on-1": 3, "worker-on-2": 5, "relay": 6, "postgres": 7}


def test_the_time_of_several_turns_is_added_up_by_kind_of_process() -> None:
    way = _way("on")
    way.spend("drain", {"worker-on-1": 1.0, "worker-on-2": 0.5, "relay": 0.25})
    way.spend("drain", {"worker-on-1": 2.0})
    way.spend("ingest", {"api-on-1": 1.0})
    assert way.used == {"drain": {"worker": 3.5, "relay": 0.25}, "ingest": {"api": 1.0}}


@pytest.mark.parametrize(
    ("key", "port", "endpoint", "share"),
    [
        ("on", 4318, "http://127.0.0.1:4318", 1.0),
        ("sampled", 4318, "http://127.0.0.1:4318", 0.1),
        ("off", None, "", 1.0),
    ],
)
def test_a_way_is_a_matter_of_settings(
    key: str, port: int | None, endpoint: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in settings_of(key, port).items():
        monkeypatch.setenv(variable, value)
    telemetry = Settings().telemetry
    assert (telemetry.endpoint, telemetry.sample_ratio) == (endpoint, share)


def test_what_takes_long_runs_when_it_is_named() -> None:
    assert set(SECTIONS) - set(usual(quick=False)) == {"tuning"}
    assert set(SECTIONS) - set(usual(quick=True)) == {"tuning", "telemetry"}
