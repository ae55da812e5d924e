import os
import signal
from pathlib import Path

from events import AttemptOutcome, RunStatus
from tests.support.otlp import OtlpReceiver, SpanRecord, otlp_receiver
from tests.support.working import until, workshop

TRACE = "0af7651916cd43dd8448eb211c80319c"
ACCEPT = "b7ad6b7169203331"


def _traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def _by_name(spans: tuple[SpanRecord, ...], name: str) -> list[SpanRecord]:
    return [span for span in spans if span.name == name]


async def test_spans_of_a_message_with_many_runs_stay_in_their_events_traces_linked_both_ways(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with otlp_receiver() as receiver:
        async with workshop(
            database_url, redis_url, tmp_path, THROUGHLINE_TELEMETRY_ENDPOINT=receiver.endpoint
        ) as shop:
            await shop.worker()
            sent = await shop.store("steady", 3, traceparents=[_traceparent(number) for number in (1, 2, 3)])
            shop.publish("steady", sent)
            for item in sent:
                await shop.ended(item)
            spans = _wait_for_runs(receiver, 3)

        [message] = _by_name(spans, "run/process_incoming_event")
        runs = _by_name(spans, "process steady")
        assert {int(run.trace_id, 16) for run in runs} == {1, 2, 3}
        assert all(int(run.parent_span_id or "0", 16) == int(run.trace_id, 16) for run in runs)
        assert {link.span_id for run in runs for link in run.links} == {message.span_id}
        assert {link.span_id for link in message.links} == {run.span_id for run in runs}
        for run in runs:
            nodes = [span for span in spans if span.parent_span_id == run.span_id]
            assert [node.name for node in sorted(nodes, key=lambda node: node.start)] == ["first", "slow", "last"]


async def test_span_of_a_message_in_the_events_trace_is_the_parent_and_the_claim_knows_the_runs_span(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with otlp_receiver() as receiver:
        async with workshop(
            database_url, redis_url, tmp_path, THROUGHLINE_TELEMETRY_ENDPOINT=receiver.endpoint
        ) as shop:
            await shop.worker()
            traceparent = f"00-{TRACE}-{ACCEPT}-01"
            [sent] = await shop.store("steady", traceparents=[traceparent], fail_attempts=1)
            for status in (RunStatus.QUEUED, RunStatus.SUCCEEDED):
                shop.publish("steady", [sent], headers={"traceparent": traceparent})
                run = await until(lambda s=status: shop.in_status(sent, s), what=f"the run is {status}")
            spans = _wait_for_runs(receiver, 2)

        first, second = sorted(_by_name(spans, "process steady"), key=lambda span: span.start)
        assert [attempt.span_id for attempt in run.attempts] == [first.span_id, second.span_id]
        assert {first.trace_id, second.trace_id} == {TRACE}
        messages = {span.span_id for span in _by_name(spans, "run/process_incoming_event")}
        assert {first.parent_span_id, second.parent_span_id} == messages
        assert [(link.span_id, link.attributes["throughline.link"]) for link in second.links] == [
            (first.span_id, "retry_of")
        ]


async def test_prefork_children_lose_no_span_when_they_stop(database_url: str, redis_url: str, tmp_path: Path) -> None:
    with otlp_receiver() as receiver:
        async with workshop(
            database_url,
            redis_url,
            tmp_path,
            THROUGHLINE_TELEMETRY_ENDPOINT=receiver.endpoint,
            THROUGHLINE_WORKER_POOL="prefork",
            THROUGHLINE_WORKER_CONCURRENCY="1",
        ) as shop:
            worker = await shop.worker()
            [sent] = await shop.store("steady")
            shop.publish("steady", [sent])
            await shop.ended(sent)
            worker.signal(signal.SIGTERM)
            await worker.ended(within=15)
            names = [span.name for span in receiver.spans]

    assert sorted(names) == ["first", "last", "process steady", "run/process_incoming_event", "slow"]


async def test_a_stop_that_is_cut_off_loses_no_span_of_what_has_ended_or_was_given_back(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with otlp_receiver() as receiver:
        async with workshop(
            database_url, redis_url, tmp_path, THROUGHLINE_TELEMETRY_ENDPOINT=receiver.endpoint
        ) as shop:
            worker = await shop.worker()
            [blocking] = await shop.store("blocking", traceparents=[_traceparent(1)], sleep=60)
            [steady] = await shop.store("steady", traceparents=[_traceparent(2)])
            shop.publish("steady", [steady])
            await shop.ended(steady)
            shop.publish("blocking", [blocking])
            await until(lambda: shop.calls(blocking), what="the loop is blocked")
            worker.signal(signal.SIGTERM)
            await worker.ended(within=15)
            attempts = [attempt for sent in (steady, blocking) for attempt in (await shop.run(sent)).attempts]

    assert [attempt.outcome for attempt in attempts] == [AttemptOutcome.SUCCEEDED, AttemptOutcome.HANDED_BACK]
    runs = {span.span_id: span for span in receiver.spans if span.name.startswith("process ")}
    assert {attempt.span_id for attempt in attempts} == set(runs)
    assert runs[attempts[1].span_id or ""].attributes["throughline.outcome"] == "handed_back"


async def test_spans_that_a_killed_prefork_child_took_along_are_made_by_its_successor(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    with otlp_receiver() as receiver:
        async with workshop(
            database_url,
            redis_url,
            tmp_path,
            THROUGHLINE_TELEMETRY_ENDPOINT=receiver.endpoint,
            THROUGHLINE_WORKER_POOL="prefork",
            THROUGHLINE_WORKER_CONCURRENCY="1",
        ) as shop:
            relay, worker = await shop.relay(), await shop.worker()
            [sent] = await shop.store("steady", traceparents=[f"00-{TRACE}-{ACCEPT}-01"])
            run = await shop.ended(sent)
            os.kill(shop.calls()[0].pid, signal.SIGKILL)
            wanted = {node.span_id for node in run.nodes} | {attempt.span_id for attempt in run.attempts}
            receiver.wait_until(lambda spans: wanted <= {span.span_id for span in spans}, timeout=20)
            for process in (worker, relay):
                process.signal(signal.SIGTERM)
                await process.ended(within=15)

    by_id = {span.span_id: span for span in receiver.spans}
    assert {span.trace_id for span in by_id.values()} == {TRACE}
    assert [span.name for span in by_id.values() if span.parent_span_id not in by_id] == [
        "apply_async/process_incoming_event"
    ]
    (again,) = [span for span in receiver.named("process steady") if "throughline.recovered" in span.attributes]
    assert (again.service, again.attributes["throughline.worker"]) == ("throughline-worker", run.attempts[0].worker)


def _wait_for_runs(receiver: OtlpReceiver, count: int) -> tuple[SpanRecord, ...]:
    return receiver.wait_until(
        lambda spans: (
            len(_by_name(spans, "process steady")) >= count
            and len(_by_name(spans, "run/process_incoming_event")) >= (count if count == 2 else 1)
        )
    )
