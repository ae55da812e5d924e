"""What a Grafana of the compose stack or the chart is given: the data sources, and where the boards lie."""

import io
import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability.logs import bind, configure_logging, get_logger
from settings import LogSettings
from tests.support.boards import BOARDS

FOLDER = Path(__file__).parents[2] / "observability" / "grafana" / "provisioning"


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def sources() -> dict[str, dict[str, Any]]:
    return {source["uid"]: source for source in read(FOLDER / "datasources" / "throughline.yml")["datasources"]}


@pytest.fixture
def line() -> str:
    """A log line as a process writes it, of a run."""
    root = logging.getLogger()
    before, stream = (root.handlers[:], root.level), io.StringIO()
    try:
        configure_logging(LogSettings(format="json"), service="worker", stream=stream)
        with bind(event_id="01a21327-9d48-731a-9f34-fbdf08f794c0", run_id="01a21327-9d48-731a-9f34-fbe137706b6c"):
            get_logger("test").info("run ended", trace_id="4bf92f3577b34da6a3ce929d0e0e4736")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
    return stream.getvalue()


def test_there_is_a_data_source_of_each_kind_and_one_default(sources: dict[str, dict[str, Any]]) -> None:
    assert {uid: source["type"] for uid, source in sources.items()} == {
        kind: kind for kind in ("prometheus", "tempo", "loki")
    }
    assert [uid for uid, source in sources.items() if source.get("isDefault")] == ["prometheus"]
    kinds = {
        variable["query"]
        for board in BOARDS.values()
        for variable in board["templating"]["list"]
        if variable["type"] == "datasource"
    }
    assert kinds == {source["type"] for source in sources.values()}


def test_every_uid_that_is_named_is_there(sources: dict[str, dict[str, Any]]) -> None:
    named = re.findall(r"datasourceUid: (\S+)", (FOLDER / "datasources" / "throughline.yml").read_text())
    assert set(named) == {"tempo", "loki"}
    assert set(named) <= set(sources)


def test_an_exemplar_opens_its_trace_by_the_label_that_ours_have(sources: dict[str, dict[str, Any]]) -> None:
    (destination,) = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["datasourceUid"]) == ("trace_id", "tempo")


def test_the_ids_of_a_log_line_lead_to_its_trace_its_run_and_its_event(
    sources: dict[str, dict[str, Any]], line: str
) -> None:
    fields = {field["name"]: field for field in sources["loki"]["jsonData"]["derivedFields"]}
    assert fields.keys() == {"trace_id", "run_id", "event_id"}
    for name, field in fields.items():
        found = re.search(field["matcherRegex"], line)
        assert found, (name, line)
        assert found[1] == json.loads(line)[name]
    assert fields["trace_id"]["datasourceUid"] == "tempo"
    assert fields["run_id"]["url"].startswith("$THROUGHLINE_API_URL/runs/")


def test_a_trace_leads_to_its_log_lines(sources: dict[str, dict[str, Any]]) -> None:
    way = sources["tempo"]["jsonData"]["tracesToLogsV2"]
    assert way["datasourceUid"] == "loki"
    assert "$${__trace.traceId}" in way["query"]


def test_the_boards_are_read_from_files_and_stay_as_they_are() -> None:
    (provider,) = read(FOLDER / "dashboards" / "throughline.yml")["providers"]
    assert (provider["type"], provider["allowUiUpdates"], provider["disableDeletion"]) == ("file", False, True)
    assert provider["options"]["path"].startswith("/")
