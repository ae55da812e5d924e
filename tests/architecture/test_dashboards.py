"""The rules of Grafana's dashboard linter and our own, over the committed boards."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import promql_parser
import pytest
import yaml
from promql_parser import Call, MatchOp, MatrixSelector

from api.routes.read_runs import RunQuery
from observability.dashboards import BOARDS as MADE
from observability.dashboards import FOLDER, render_dashboards
from observability.dashboards.promql import FOREIGN, RULES, SLO_EVENTS, Foreign, highest, quantile, rate, select
from observability.metrics import Metrics, catalogue
from tests.support.boards import BOARDS, Target, filled, panels, selectors, targets

UIDS = {
    "throughline-slo",
    "throughline-api",
    "throughline-queues",
    "throughline-pipelines",
    "throughline-stores",
    "throughline-telemetry",
}
UNITS = {"none", "short", "percentunit", "s", "ops", "reqps", "bytes", "Bps"}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
KINDS = {f"{item.name}{suffix}": item.kind for item in catalogue for suffix in SUFFIXES[item.kind]}
LABELS = {f"{item.name}{suffix}": {*item.label_names} for item in catalogue for suffix in SUFFIXES[item.kind]}
FOREIGN_KINDS = {item.name: item.kind for item in (*FOREIGN, SLO_EVENTS)}
RULE_NAMES = {rule.name for rule in RULES}

TARGETS = list(targets())
every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
every_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


def labelled(board: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {variable["name"]: variable for variable in board["templating"]["list"]}


def test_the_committed_boards_are_what_the_code_makes() -> None:
    """To mend: ``throughline dashboards``."""
    committed = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert committed == render_dashboards()


def test_the_boards_have_the_uids_that_others_name() -> None:
    assert {board.uid for board in MADE} == UIDS
    assert {name: board["uid"] for name, board in BOARDS.items()} == {uid: uid for uid in UIDS}
    assert len({board["title"] for board in BOARDS.values()}) == len(UIDS)


@every_board
def test_a_board_can_not_be_edited_is_in_utc_and_leads_to_the_others(board: dict[str, Any]) -> None:
    assert board["editable"] is False
    assert board["timezone"] == "utc"
    assert board["tags"] == ["throughline"]
    assert board["description"]
    (others,) = [link for link in board["links"] if link["type"] == "dashboards"]
    assert (others["tags"], others["keepTime"], others["includeVars"]) == (["throughline"], True, True)


@every_board
def test_variables_are_as_the_linter_wants_them(board: dict[str, Any]) -> None:
    variables = labelled(board)
    kinds = [name for name, variable in variables.items() if variable["type"] == "datasource"]
    assert kinds == ["prometheus_datasource", "loki_datasource", "tempo_datasource"]
    for name in kinds:
        assert variables[name]["query"] == name.partition("_")[0]
        assert variables[name]["label"] == f"{name.partition('_')[0].title()} data source"
    for name in ("job", "instance"):
        assert variables[name]["allValue"] == ".+"
    for name, variable in variables.items():
        if variable["type"] == "query":
            assert variable["datasource"]["uid"] == "${prometheus_datasource}"
            assert variable["label"] == name.title()
            assert (variable["multi"], variable["includeAll"], variable["refresh"]) == (True, True, 2)
            metric, matchers, label = re.fullmatch(
                r"label_values\((\w+)(\{.*\})?, (\w+)\)", variable["definition"]
            ).groups()  # type: ignore[union-attr]  # it must match
            assert metric in KINDS or metric in FOREIGN_KINDS
            promql_parser.parse(filled(f"{metric}{matchers or ''}"))
            assert label == name


@every_board
def test_every_variable_that_is_used_is_there_and_every_one_that_is_there_is_used(board: dict[str, Any]) -> None:
    text = json.dumps([board["panels"], board["links"]])
    names = re.findall(r"\$\{?([a-z_]+)", re.sub(r"%24|\\", "", text))
    used = {name for name in names if not name.startswith("__")}
    defined = set(labelled(board))
    assert used <= defined
    assert defined - used <= {"loki_datasource", "tempo_datasource"}


@every_board
def test_each_panel_says_what_it_shows_in_which_unit(board: dict[str, Any]) -> None:
    assert Counter(panel["id"] for panel in board["panels"]).most_common(1)[0][1] == 1
    for panel in panels(board):
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert panel["targets"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${prometheus_datasource}"}
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${prometheus_datasource}"}


@every_board
def test_panels_do_not_overlap_and_lie_on_the_grid(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells


@every_target
def test_each_query_is_valid_and_names_what_there_is(target: Target) -> None:
    found = selectors(target.filled())
    assert found
    for selector, _ in found:
        name = selector.name
        assert name in KINDS or name in FOREIGN_KINDS or name in RULE_NAMES, name
        if name in LABELS:
            extra = {"job", "instance", "le"}
            assert {matcher.name for matcher in selector.matchers.matchers} <= LABELS[name] | extra


@every_target
def test_each_selector_has_the_boards_job_and_instance(target: Target) -> None:
    for selector, _ in selectors(target.filled(job="the-jobs", instance="the-instances", pipeline="ours")):
        matchers = {matcher.name: (matcher.op, matcher.value) for matcher in selector.matchers.matchers}
        if selector.name not in RULE_NAMES:
            assert matchers["job"] == (MatchOp.Re, "the-jobs")
            assert matchers["instance"] == (MatchOp.Re, "the-instances")
        if selector.name in RULE_NAMES or "pipeline" in LABELS.get(selector.name, ()):
            assert matchers["pipeline"] == (MatchOp.Re, "ours")


@every_target
def test_counters_are_read_by_their_rate_alone_and_over_the_right_time(target: Target) -> None:
    for selector, above in selectors(target.filled(__rate_interval="77s", __range="99s")):
        kind = FOREIGN_KINDS.get(selector.name) or KINDS.get(selector.name, "gauge")
        function = next((node.func.name for node in reversed(above) if isinstance(node, Call)), None)
        ranged = above[-1] if above and isinstance(above[-1], MatrixSelector) else None
        if kind == "gauge":
            assert function not in {"rate", "irate", "increase"}, selector.name
        else:
            assert ranged is not None, selector.name
            assert isinstance(above[-2], Call)
            wanted = {"rate": 77, "increase": 99}
            assert ranged.range.total_seconds() == wanted[above[-2].func.name]


@every_target
def test_what_every_relay_tells_alike_is_not_summed_up(target: Target) -> None:
    alike = (
        "throughline_queue_",
        "throughline_redis_",
        "throughline_postgres_",
        "throughline_accounting",
        "throughline_dead",
    )
    for selector, above in selectors(target.filled()):
        if selector.name.startswith(alike):
            inner = [node for node in above if type(node).__name__ == "AggregateExpr"][-1]
            assert str(inner.op) in {"max", "min"}, selector.name


def test_latencies_are_shown_with_their_exemplars() -> None:
    shown = {
        target.expr.partition("rate(")[2].partition("_bucket{")[0]: target.model["exemplar"]
        for uid, board in BOARDS.items()
        for panel in panels(board)
        if panel["type"] == "heatmap"
        for target in (Target(uid, panel["title"], model["expr"], model) for model in panel["targets"])
    }
    ours = ("http_server_request", "throughline_run_", "throughline_node_")
    latencies = {item.name for item in catalogue if item.kind == "histogram" and item.name.startswith(ours)}
    assert latencies <= shown.keys()
    assert all(shown[name] for name in latencies)


def test_links_into_traces_and_logs_are_whole_and_those_to_runs_are_understood() -> None:
    kinds = Counter[str]()
    for board in BOARDS.values():
        for panel in panels(board):
            for link in panel["fieldConfig"]["defaults"]["links"]:
                address = urlsplit(link["url"].replace("${api_url}", "http://api"))
                if address.path == "/explore":
                    (pane,) = json.loads(unquote(parse_qs(address.query)["panes"][0])).values()
                    (query,) = pane["queries"]
                    kinds[query["datasource"]["type"]] += 1
                    assert (
                        pane["datasource"]
                        == query["datasource"]["uid"]
                        == f"${{{query['datasource']['type']}_datasource}}"
                    )
                    assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
                    assert query.get("query") or query.get("expr")
                elif address.netloc == "api":
                    kinds["runs"] += 1
                    assert address.path == "/runs"
                    RunQuery.model_validate({name: value[0] for name, value in parse_qs(address.query).items()})
                else:
                    assert address.path.removeprefix("/d/") in UIDS
    assert kinds.keys() == {"tempo", "loki", "runs"}


def test_a_query_that_says_nothing_can_not_be_made() -> None:
    with pytest.raises(ValueError, match="has no label outcom"):
        select(Metrics.runs, outcom="failed")
    with pytest.raises(ValueError, match="has no label node"):
        rate(Metrics.runs, by=("node",))
    with pytest.raises(ValueError, match="only its rate"):
        highest(Metrics.runs)
    with pytest.raises(ValueError, match="has no rate"):
        rate(Metrics.queue_depth)
    with pytest.raises(ValueError, match="no histogram"):
        quantile(0.5, Metrics.runs)


def test_a_metric_of_ours_is_taken_from_the_catalogue_once_it_is_there() -> None:
    names = {item.name for item in catalogue}
    assert not {item.name for item in FOREIGN} & names
    assert isinstance(SLO_EVENTS, Foreign) == (SLO_EVENTS.name not in names)


def test_the_recording_rules_are_those_that_are_shipped() -> None:
    files = sorted((Path(__file__).parents[2] / "observability" / "alerts" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    shipped = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    used = {selector.name for target in TARGETS for selector, _ in selectors(target.filled())} & RULE_NAMES
    assert used
    assert used <= shipped or not files
