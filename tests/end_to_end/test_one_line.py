import json
import re
import subprocess
import sys
from collections import Counter
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.support.log_docs import described_lines
from tests.support.otlp import OtlpReceiver, SpanRecord
from tests.support.system import QUESTION, ROOT, System, eventually, secrets_of
from tests.support.trees import path_to, tree_of
from throughline.samples import SAMPLES, read_samples


def test_an_event_goes_from_post_to_its_last_node_within_a_second(running: System) -> None:
    took = []
    for number in range(5):
        event = running.ended(running.post({**QUESTION, "id": f"quick-{number}"})["event_id"])
        assert event["status"] == "succeeded"
        received = datetime.fromisoformat(event["received_at"])
        took += [(datetime.fromisoformat(run["finished_at"]) - received).total_seconds() for run in event["runs"]]
    assert min(took) < 1.0

    runs = {run["pipeline"]: run for run in event["runs"]}
    assert set(runs) == {"issue_triage", "repository_activity"}
    nodes = {node["node"]: node for node in runs["issue_triage"]["nodes"]}
    assert {name: node["status"] for name, node in nodes.items()} == {
        "normalise": "succeeded",
        "classify": "succeeded",
        "route_issue": "succeeded",
        "answer": "succeeded",
        "label_issue": "skipped",
        "escalate": "skipped",
    }
    assert nodes["classify"]["output"]["category"] == "question"
    (attempt,) = runs["issue_triage"]["attempts"]
    assert attempt["outcome"] == "succeeded"
    assert attempt["task_id"]


def test_every_sample_reaches_its_node(running: System) -> None:
    for sample in read_samples(SAMPLES):
        event = running.ended(running.post(sample.event)["event_id"])
        assert event["status"] == "succeeded", event
        for pipeline, node in sample.expect.items():
            (run,) = [run for run in event["runs"] if run["pipeline"] == pipeline]
            assert node in {item["node"] for item in run["nodes"] if item["status"] == "succeeded"}, sample.name


def look(running: System, *arguments: str, columns: int) -> str:
    """What a command that looks into the database says, with nothing but the database."""
    settings = {"THROUGHLINE_REDIS_URL": "redis://127.0.0.1:1/0", "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "throughline", *arguments]
    environment = running.environment(**settings)
    return subprocess.check_output(command, env=environment, cwd=ROOT, text=True, timeout=60)


@pytest.mark.parametrize("columns", [80, 160])
def test_the_line_is_seen_from_the_database_alone(running: System, columns: int) -> None:
    answer = running.post(QUESTION)
    event = running.ended(answer["event_id"])
    said = look(running, "trace", answer["event_id"], columns=columns)
    assert answer["trace_id"] in said
    for run in event["runs"]:
        shown = said.split(f"run {run['run_id']}")[1]
        assert run["attempts"][0]["worker"] in shown
        assert all(f"  {node['node']} " in shown for node in run["nodes"])
    assert json.loads(look(running, "trace", answer["event_id"], "--json", columns=columns)) == event

    said = look(running, "top", "--once", columns=columns)
    assert event["runs"][0]["attempts"][0]["worker"].partition("#")[0] in said
    assert all(re.search(rf"^{run['pipeline']} +\d+ +[1-9]", said, re.MULTILINE) for run in event["runs"])
    assert "accounting difference 0" in said
    assert max(map(len, said.splitlines())) <= columns


def test_the_trace_id_of_the_answer_finds_the_log_lines_of_all_three_processes(running: System) -> None:
    answer = running.post(QUESTION)
    running.ended(answer["event_id"])
    for name in ("api", "relay", "worker"):
        found = eventually(
            lambda name=name: [line for line in running.lines(name) if answer["trace_id"] in json.dumps(line)],
            what=f"a line of {name} with trace {answer['trace_id']}",
        )
        assert {line["service"] for line in found} <= {name, f"throughline-{name}"}


def test_an_event_writes_what_the_page_says_and_nothing_else(running: System) -> None:
    """Libraries included. ``tests/integration/test_log_lines.py`` has all cases of the page."""
    names = ("api", "relay", "worker")

    def written() -> dict[str, list[dict[str, Any]]]:
        return {name: list(running.lines(name)) for name in names}

    def send() -> tuple[dict[str, Any], int]:
        answer = running.post(QUESTION)
        runs = running.ended(answer["event_id"])["runs"]
        ends = [("run ended", run["run_id"]) for run in runs]
        eventually(
            lambda: {(line["event"], line.get("run_id")) for line in written()["worker"]}.issuperset(ends),
            what="the end of every run is told",
        )
        return answer, len(runs)

    send()
    before = written()
    answer, runs = send()
    new = [line for name, lines in written().items() for line in lines[len(before[name]) :]]
    described = described_lines(level="info")
    for line in new:
        assert line["event"] in described, line
        described[line["event"]].require(line)
        assert answer["trace_id"] in json.dumps(line)
    told = Counter(line["event"] for line in new)
    assert told == {"event accepted": 1, "run published": runs, "run ended": runs}


def whole_trace(receiver: OtlpReceiver, trace_id: str, *, nodes: int) -> tuple[SpanRecord, ...]:
    """Wait until the spans of so many nodes, and of all that is above them, have arrived; return the trace's."""

    def arrived(spans: tuple[SpanRecord, ...]) -> bool:
        names = Counter(span.name for span in spans if span.trace_id == trace_id)
        above = ("POST /events", "accept")
        own = sum("throughline.node" in span.attributes for span in spans if span.trace_id == trace_id)
        messages = names["run/process_incoming_event"] == names["apply_async/process_incoming_event"]
        return all(names[name] for name in above) and own == nodes and messages

    return tuple(span for span in receiver.wait_until(arrived, timeout=30) if span.trace_id == trace_id)


def test_the_spans_of_an_event_are_one_tree_with_the_right_parents(
    running: System, shared_receiver: OtlpReceiver
) -> None:
    answer = running.post(QUESTION)
    event = running.ended(answer["event_id"])
    nodes = [node for run in event["runs"] for node in run["nodes"] if node["status"] == "succeeded"]
    by_id = tree_of(whole_trace(shared_receiver, answer["trace_id"], nodes=len(nodes)), answer["trace_id"])
    paths = {span.span_id: path_to(span, by_id) for span in by_id.values()}
    for run in event["runs"]:
        expected = [
            "POST /events",
            "accept",
            "apply_async/process_incoming_event",
            "run/process_incoming_event",
            f"process {run['pipeline']}",
        ]
        (attempt,) = run["attempts"]
        assert paths[attempt["span_id"]] == expected
        for node in run["nodes"]:
            if node["status"] == "succeeded":
                assert paths[node["span_id"]] == [*expected, node["node"]]
    assert {span.service for span in by_id.values()} == {"throughline-api", "throughline-relay", "throughline-worker"}


def test_a_callers_trace_goes_on(running: System, shared_receiver: OtlpReceiver) -> None:
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = running.post(QUESTION, traceparent=f"00-{trace_id}-{parent}-01")
    assert answer["trace_id"] == trace_id
    event = running.ended(answer["event_id"])
    nodes = [node for run in event["runs"] for node in run["nodes"] if node["status"] == "succeeded"]
    spans = {span.span_id: span for span in whole_trace(shared_receiver, trace_id, nodes=len(nodes))}
    assert [span.name for span in spans.values() if span.parent_span_id not in spans] == ["POST /events"]
    assert [span.name for span in spans.values() if span.parent_span_id == parent] == ["POST /events"]


def test_all_three_processes_serve_their_metrics(running: System) -> None:
    running.ended(running.post(QUESTION)["event_id"])
    ports = {
        name: running.services[name]._env[f"THROUGHLINE_{name.upper()}_METRICS_PORT"] for name in ("relay", "worker")
    }
    urls = {"api": running.api_url, **{name: f"http://127.0.0.1:{port}" for name, port in ports.items()}}
    wanted = {
        "api": 'throughline_events_total{outcome="accepted",type="github.issues"}',
        "relay": "throughline_published_total",
        "worker": 'throughline_runs_total{outcome="succeeded",pipeline="issue_triage"}',
    }
    for name, line in wanted.items():
        text = eventually(
            lambda url=urls[name], line=line: (
                line in (text := httpx.get(f"{url}/metrics", trust_env=False).text) and text
            ),
            what=f"{line} from {name}",
        )
        assert line in text


def test_no_secret_stands_in_any_log_span_or_answer(running: System, shared_receiver: OtlpReceiver) -> None:
    answer = running.post(QUESTION)
    event = running.ended(answer["event_id"])
    environment = running.environment()
    secrets = secrets_of([environment["THROUGHLINE_DATABASE_URL"], environment["THROUGHLINE_REDIS_URL"]])
    assert len(secrets) == 2
    logs = "".join(path.read_text() for path in sorted(running.home.glob("*.log")))
    shown = [json.dumps(event), logs, repr(shared_receiver.spans)]
    assert [secret for secret in secrets if any(secret in text for text in shown)] == []
