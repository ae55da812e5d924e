import json
from datetime import datetime

import httpx
import pytest

from tests.support.otlp import OtlpReceiver, SpanRecord
from tests.support.system import System, eventually, secrets_of
from throughline.samples import SAMPLES, read_samples

QUESTION = {
    "type": "github.issues",
    "source": "test",
    "data": {
        "action": "opened",
        "issue": {"number": 7, "title": "How do I begin?", "html_url": "https://github.example/a/b/issues/7"},
        "repository": {"full_name": "a/b"},
        "sender": {"login": "ada"},
    },
}


@pytest.fixture
def running(whole: System) -> System:
    whole.start_relay()
    whole.start_worker()
    whole.start_api()
    return whole


def tree_of(spans: tuple[SpanRecord, ...], trace_id: str) -> dict[str, SpanRecord]:
    """Check that the spans of a trace form one tree, and return them by id."""
    by_id = {span.span_id: span for span in spans if span.trace_id == trace_id}
    roots = [span for span in by_id.values() if span.parent_span_id is None]
    assert len(roots) == 1, [span.name for span in roots]
    orphans = [span.name for span in by_id.values() if span.parent_span_id and span.parent_span_id not in by_id]
    assert orphans == []
    assert len(by_id) == sum(span.trace_id == trace_id for span in spans), "a span arrived twice"
    return by_id


def path_to(span: SpanRecord, by_id: dict[str, SpanRecord]) -> list[str]:
    names = [span.name]
    while span.parent_span_id is not None:
        span = by_id[span.parent_span_id]
        names.append(span.name)
    return names[::-1]


def test_an_event_goes_from_post_to_its_last_node_within_a_second(running: System) -> None:
    took = []
    for number in range(5):
        event = running.ended(running.post({**QUESTION, "id": str(number)})["event_id"])
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


def test_the_trace_id_of_the_answer_finds_the_log_lines_of_all_three_processes(running: System) -> None:
    answer = running.post(QUESTION)
    running.ended(answer["event_id"])
    for name in ("api", "relay", "worker"):
        found = eventually(
            lambda name=name: [line for line in running.lines(name) if answer["trace_id"] in json.dumps(line)],
            what=f"a line of {name} with trace {answer['trace_id']}",
        )
        assert {line["service"] for line in found} <= {name, f"throughline-{name}"}


def test_the_spans_of_an_event_are_one_tree_with_the_right_parents(running: System, receiver: OtlpReceiver) -> None:
    answer = running.post(QUESTION)
    event = running.ended(answer["event_id"])
    running.stop()
    by_id = tree_of(receiver.spans, answer["trace_id"])
    paths = {(span.name, span.span_id): path_to(span, by_id) for span in by_id.values()}
    for run in event["runs"]:
        expected = [
            "POST /events",
            "accept",
            "apply_async/process_incoming_event",
            "run/process_incoming_event",
            f"process {run['pipeline']}",
        ]
        for node in run["nodes"]:
            if node["status"] == "succeeded":
                (path,) = [path for (name, _), path in paths.items() if name == node["node"]]
                assert path == [*expected, node["node"]]
        (attempt,) = run["attempts"]
        assert by_id[attempt["span_id"]].name == f"process {run['pipeline']}"
    services = {span.service for span in by_id.values()}
    assert services == {"throughline-api", "throughline-relay", "throughline-worker"}


def test_a_callers_trace_goes_on(running: System, receiver: OtlpReceiver) -> None:
    trace_id, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    answer = running.post(QUESTION, traceparent=f"00-{trace_id}-{parent}-01")
    assert answer["trace_id"] == trace_id
    running.ended(answer["event_id"])
    running.stop()
    spans = {span.span_id: span for span in receiver.spans if span.trace_id == trace_id}
    assert [span.name for span in spans.values() if span.parent_span_id not in spans] == ["POST /events"]
    assert [span.name for span in spans.values() if span.parent_span_id == parent] == ["POST /events"]


def test_under_backlog_each_events_spans_are_still_one_tree_linked_to_its_message(
    whole: System, receiver: OtlpReceiver
) -> None:
    whole.start_api()
    answers = [whole.post({**QUESTION, "id": str(number)}) for number in range(60)]
    whole.start_relay(THROUGHLINE_RELAY_SINGLE_BELOW="1")
    whole.start_worker()
    for answer in answers:
        assert whole.ended(answer["event_id"])["status"] == "succeeded"
    whole.stop()
    spans = receiver.spans
    everywhere = {(span.trace_id, span.span_id): span for span in spans}
    linked = 0
    for answer in answers:
        by_id = tree_of(spans, answer["trace_id"])
        processes = [span for span in by_id.values() if span.name.startswith("process ")]
        assert len(processes) == 2
        for process in processes:
            messages = [everywhere[link.trace_id, link.span_id] for link in process.links]
            back = {(link.trace_id, link.span_id) for message in messages for link in message.links}
            linked += bool(messages)
            if messages:
                assert (process.trace_id, process.span_id) in back
                assert path_to(process, by_id) == ["POST /events", "accept", process.name]
    assert linked > len(answers)


def test_all_three_processes_serve_their_metrics(running: System) -> None:
    running.ended(running.post(QUESTION)["event_id"])
    ports = {
        name: running.services[name]._env[f"THROUGHLINE_{name.upper()}_METRICS_PORT"] for name in ("relay", "worker")
    }
    urls = {"api": running.api_url, **{name: f"http://127.0.0.1:{port}" for name, port in ports.items()}}
    wanted = {
        "api": 'throughline_events_total{outcome="accepted",type="github.issues"} 1.0',
        "relay": "throughline_published_total",
        "worker": 'throughline_runs_total{outcome="succeeded",pipeline="issue_triage"} 1.0',
    }
    for name, line in wanted.items():
        text = eventually(
            lambda url=urls[name], line=line: (
                line in (text := httpx.get(f"{url}/metrics", trust_env=False).text) and text
            ),
            what=f"{line} from {name}",
        )
        assert line in text


def test_no_secret_stands_in_any_log_span_or_answer(
    running: System, receiver: OtlpReceiver, database_url: str, redis_url: str
) -> None:
    answer = running.post(QUESTION)
    event = running.ended(answer["event_id"])
    running.stop()
    secrets = secrets_of([database_url, redis_url])
    assert secrets
    shown = [json.dumps(event), running_logs(running), repr(receiver.spans)]
    assert [secret for secret in secrets if any(secret in text for text in shown)] == []


def running_logs(running: System) -> str:
    return "".join(path.read_text() for path in sorted(running.home.glob("*.log")))
