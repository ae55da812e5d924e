import asyncio
import io
import json
import logging
import threading
import warnings
from typing import Any, Literal

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from observability.levels import set_level
from observability.logs import bind, configure_logging, get_logger, limit_rate, tell, tell_all
from observability.tracing import accept_span
from settings import LogSettings


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Lines:
    """What was written, parsed."""

    def __init__(self, level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO") -> None:
        self.stream = io.StringIO()
        configure_logging(LogSettings(format="json", level=level), service="worker", stream=self.stream)

    @property
    def all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.all[-1]


def test_our_line_and_a_foreign_one_have_the_same_fields() -> None:
    lines = Lines()
    get_logger("ours").info("run claimed")
    logging.getLogger("uvicorn.error").info("started on %s", "port")
    ours, foreign = lines.all
    assert ours.keys() == foreign.keys() == {"timestamp", "level", "event", "logger", "service", "pid"}
    assert (ours["event"], ours["logger"], ours["service"]) == ("run claimed", "ours", "worker")
    assert (foreign["event"], foreign["logger"], foreign["level"]) == ("started on port", "uvicorn.error", "info")


def test_bound_ids_stand_on_ours_and_on_foreign_lines_and_are_gone_afterwards() -> None:
    lines = Lines()
    with bind(run_id="r1", attempt=2):
        get_logger("ours").info("a")
        logging.getLogger("alembic").info("b")
    get_logger("ours").info("c")
    assert [(line.get("run_id"), line.get("attempt")) for line in lines.all] == [("r1", 2), ("r1", 2), (None, None)]


def test_a_line_on_the_short_way_looks_like_any_other(spans: InMemorySpanExporter) -> None:
    lines = Lines()
    with bind(run_id="r1", attempt=2), accept_span("e1", "t", tenant="x"):
        tell("ours", "run ended", {"outcome": "succeeded", "duration": 0.5})
        get_logger("ours").info("run ended", outcome="succeeded", duration=0.5)
    short, long = lines.all
    assert short.pop("timestamp") <= long.pop("timestamp")
    assert list(short) == list(long)
    assert short == long
    assert not spans.get_finished_spans()[0].events


async def test_lines_on_the_short_way_are_written_with_the_loops_turn_and_before_any_later_line() -> None:
    lines = Lines()
    tell("ours", "one", {})
    tell("ours", "two", {})
    assert not lines.all
    get_logger("ours").info("three")
    tell("ours", "four", {})
    await asyncio.sleep(0)
    assert [line["event"] for line in lines.all] == ["one", "two", "three", "four"]


def test_several_lines_on_the_short_way_are_as_many_of_one(spans: InMemorySpanExporter) -> None:
    lines = Lines()
    told = [("accepted", {"event_id": f"e{number}", "runs": number}) for number in range(3)]
    told.insert(1, ("duplicate", {"event_id": "e", "runs": 1}))
    with bind(run_id="r1", event_id="hidden"), accept_span("e1", "t", tenant="x"):
        tell_all("ours", [*told, ("bare", {})])
        for event, fields in [*told, ("bare", {})]:
            get_logger("ours").info(event, **fields)
    once, singly = lines.all[:5], lines.all[5:]
    assert [{**line, "timestamp": ""} for line in once] == [{**line, "timestamp": ""} for line in singly]
    assert not spans.get_finished_spans()[0].events
    tell_all("ours", [])
    assert len(lines.all) == 10


def test_the_short_way_minds_the_level_and_the_format() -> None:
    lines = Lines("WARNING")
    tell("ours", "run ended", {})
    assert not lines.all
    readable = io.StringIO()
    configure_logging(LogSettings(format="console"), service="worker", stream=readable)
    tell("ours", "run ended", {"outcome": "succeeded"})
    assert "run ended" in readable.getvalue()
    assert "outcome=succeeded" in readable.getvalue()


async def test_tasks_of_one_loop_do_not_see_each_others_ids() -> None:
    lines = Lines()

    async def work(run_id: str) -> None:
        with bind(run_id=run_id):
            await asyncio.sleep(0)
            get_logger("ours").info(run_id)

    await asyncio.gather(*(work(f"r{number}") for number in range(5)))
    assert all(line["run_id"] == line["event"] for line in lines.all)
    assert len(lines.all) == 5


def test_a_line_inside_a_span_carries_its_trace(spans: InMemorySpanExporter) -> None:
    lines = Lines()
    with accept_span("e1", "t", tenant="x"):
        logging.getLogger("celery.worker").warning("foreign")
        get_logger("ours").info("ours")
    get_logger("ours").info("outside")
    context = spans.get_finished_spans()[0].context
    expected = (format(context.trace_id, "032x"), format(context.span_id, "016x"))
    foreign, ours, outside = lines.all
    assert (foreign["trace_id"], foreign["span_id"]) == (ours["trace_id"], ours["span_id"]) == expected
    assert "trace_id" not in outside


def _connect(url: str) -> None:
    secret = url.upper()
    raise ConnectionError(f"{url} refused, {len(secret)}")


def test_an_exception_is_one_line_and_keeps_no_credentials() -> None:
    lines = Lines()
    try:
        _connect("redis://app:hunter2@cache/0")
    except ConnectionError:
        get_logger("ours").exception("publish failed")
        logging.getLogger("kombu").exception("publish failed")
    assert len(lines.all) == 2
    for line in lines.all:
        assert line["error_type"] == "ConnectionError"
        assert "Traceback" in line["exception"]
        assert "refused" in line["exception"]
    assert "hunter2" not in lines.stream.getvalue()


def test_secrets_are_redacted_in_fields_and_in_foreign_messages() -> None:
    lines = Lines()
    get_logger("ours").info("x", password="hunter2", headers={"Cookie": "hunter2"})
    logging.getLogger("celery").warning("connected to %s", "redis://:hunter2@h/0")
    assert "hunter2" not in lines.stream.getvalue()


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


def test_a_value_that_cannot_be_shown_breaks_no_line() -> None:
    lines = Lines()
    get_logger("ours").info("odd", value=_Broken(), nested={"a": [_Broken()]})
    assert lines.last["event"] == "odd"


def test_a_foreign_record_that_cannot_be_formatted_is_still_a_line() -> None:
    lines = Lines()
    logging.getLogger("foreign").warning("%d", "no number")
    assert lines.last["logger"] == "foreign"
    assert lines.last["template"] == "%d"


def test_warnings_go_through_the_pipeline() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        lines = Lines()
        warnings.warn("mind the gap", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert lines.last["logger"] == "py.warnings"
    assert "mind the gap" in lines.last["event"]


def test_a_closed_stream_does_not_reach_the_work() -> None:
    lines = Lines()
    lines.stream.close()
    get_logger("ours").info("nobody hears this")


def test_the_level_changes_at_run_time_also_for_loggers_in_use() -> None:
    lines = Lines()
    log = get_logger("ours")
    log.debug("hidden")
    set_level("DEBUG")
    log.debug("shown")
    set_level("ERROR")
    log.warning("hidden")
    logging.getLogger("kombu").warning("hidden")
    assert [line["event"] for line in lines.all] == ["shown"]


def test_chatty_libraries_are_quiet_until_everything_is_asked_for() -> None:
    lines = Lines()
    logging.getLogger("celery.worker.strategy").info("Task received")
    logging.getLogger("celery.worker").info("ready")
    set_level("DEBUG")
    logging.getLogger("celery.worker.strategy").info("Task received")
    assert [line["event"] for line in lines.all] == ["ready", "Task received"]


def test_auto_is_readable_at_a_terminal_and_json_elsewhere() -> None:
    terminal, pipe = _Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        configure_logging(LogSettings(format="auto"), service="api", stream=stream)
        get_logger("ours").info("hello")
    assert json.loads(pipe.getvalue())["event"] == "hello"
    with pytest.raises(json.JSONDecodeError):
        json.loads(terminal.getvalue())
    assert "hello" in terminal.getvalue()


def test_the_console_shows_an_exception_without_the_values_of_variables() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="console"), service="api", stream=stream)
    try:
        _connect("hunter2"[::-1])
    except ConnectionError:
        get_logger("ours").exception("broke")
    assert "ConnectionError" in stream.getvalue()
    assert "HUNTER2"[::-1] not in stream.getvalue()


def test_configuring_again_replaces_and_doubles_nothing() -> None:
    first, second = Lines(), Lines()
    get_logger("ours").info("once")
    assert (len(first.all), len(second.all)) == (0, 1)


def test_a_limited_logger_repeats_a_message_only_after_the_time_and_tells_how_many_were_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = Lines()
    now = 1000.0
    monkeypatch.setattr("observability.logs.time.monotonic", lambda: now)
    log = logging.getLogger("limited-in-this-test")
    limit_rate("limited-in-this-test", seconds=60)
    for _ in range(10):
        log.warning("collector %s is away", "c")
    log.warning("something else")
    now += 61
    log.warning("collector %s is away", "c")
    assert [line["event"] for line in lines.all] == [
        "collector c is away",
        "something else",
        "collector c is away",
    ]
    assert lines.last["left_out"] == 9


def test_threads_write_whole_lines() -> None:
    lines = Lines()
    threads = [
        threading.Thread(target=lambda: [get_logger("ours").info("x", text="y" * 500) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines.all) == 200


def test_what_the_settings_hide_is_hidden_in_every_kind_of_line() -> None:
    stream = io.StringIO()
    settings = LogSettings.model_validate({"format": "json", "redact": ["customer_email", "outcome", "tenant"]})
    configure_logging(settings, service="worker", stream=stream)
    with bind(tenant="gone", run_id="r1"):
        get_logger("ours").info("x", customer={"email": "gone"})
        logging.getLogger("foreign").warning("refused %s", {"customerEmail": "gone"})
        tell("ours", "run ended", {"outcome": "gone", "duration": 0.5})
    try:
        _connect("customer_email=gone")
    except ConnectionError:
        get_logger("ours").exception("broke")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 4
    assert "gone" not in stream.getvalue().lower()
    assert [line.get("run_id") for line in lines] == ["r1", "r1", "r1", None]
    assert lines[2]["duration"] == 0.5


def test_lines_are_captured_of_a_logger_that_was_used_before_logging_was_configured_again() -> None:
    log = get_logger("used.before")
    configure_logging(LogSettings(format="json"), service="test", stream=io.StringIO())
    log.warning("once")
    configure_logging(LogSettings(format="json"), service="test", stream=io.StringIO())
    with structlog.testing.capture_logs() as lines:
        log.warning("twice")
    assert [line["event"] for line in lines] == ["twice"]
