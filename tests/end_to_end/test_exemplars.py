"""Exemplars name traces that are whole, in each of several processes of a kind."""

import re
from typing import Any

import httpx

from tests.support.otlp import OtlpReceiver
from tests.support.system import QUESTION, System, eventually
from tests.support.trees import path_to, tree_of
from throughline.embedded import free_port
from throughline.supervision import http_ok

OPEN_METRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
EXEMPLAR = re.compile(r'^(\w+)_bucket\{.*\} \S+ # \{trace_id="([0-9a-f]{32})"\}', re.MULTILINE)
CHILDREN = 2
EVENTS = 12


def exemplars(url: str, histogram: str) -> set[str]:
    """The trace ids that a process's histogram has exemplars of."""
    text = httpx.get(f"{url}/metrics", headers=OPEN_METRICS, timeout=10, trust_env=False).text
    return {trace_id for name, trace_id in EXEMPLAR.findall(text) if name == histogram}


def test_every_process_has_exemplars_and_each_names_a_trace_that_is_whole(
    whole: System, receiver: OtlpReceiver
) -> None:
    apis = {f"http://127.0.0.1:{port}": str(port) for port in (free_port(), free_port())}
    for url, port in apis.items():
        whole.start(f"api-{port}", ready=f"{url}/health/ready", THROUGHLINE_API_PORT=port)
    whole.start_relay()
    port = free_port()
    children = [f"http://127.0.0.1:{port + 1 + number}" for number in range(CHILDREN)]
    prefork = {
        "THROUGHLINE_WORKER_POOL": "prefork",
        "THROUGHLINE_WORKER_CONCURRENCY": str(CHILDREN),
        "THROUGHLINE_WORKER_METRICS_PORT": str(port),
    }
    whole.start("worker", ready=f"{children[0]}/metrics", **prefork)
    eventually(http_ok(f"{children[1]}/metrics"), what="the second child")

    stories: dict[str, dict[str, Any]] = {}
    for number in range(EVENTS):
        for whole.api_url in apis:
            answer = whole.post({**QUESTION, "id": f"{number} by {whole.api_url}"})
            stories[answer["trace_id"]] = whole.ended(answer["event_id"])
    shown = [exemplars(url, "http_server_request_duration_seconds") & set(stories) for url in apis]
    shown += [exemplars(url, "throughline_run_duration_seconds") for url in children]
    whole.stop()

    assert all(shown), "a process has no exemplar of what it did"
    for trace_id in set().union(*shown):
        by_id = tree_of(receiver.spans, trace_id)
        nodes = [node for run in stories[trace_id]["runs"] for node in run["nodes"] if node["status"] == "succeeded"]
        assert {run["pipeline"] for run in stories[trace_id]["runs"]} == {"issue_triage", "repository_activity"}
        paths = [path_to(by_id[node["span_id"]], by_id) for node in nodes]
        assert {tuple(path[:2]) for path in paths} == {("POST /events", "accept")}
