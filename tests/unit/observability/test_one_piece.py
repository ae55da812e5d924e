import io
import json
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.logs import bind, configure_logging, get_logger
from observability.one_piece import LONGEST, in_one_piece
from settings import LogSettings

FIRST = ("timestamp", "event", "trace_id")
IDS: dict[str, object] = {"timestamp": "2026-11-25T17:00:00.000000Z", "event": "node failed", "trace_id": "a" * 32}


def written(**fields: object) -> dict[str, Any]:
    line = in_one_piece(IDS | fields, first=FIRST)
    assert len(line) <= LONGEST
    read: dict[str, Any] = json.loads(line)
    assert {name: read[name] for name in FIRST} == IDS
    return read


def test_what_fits_is_left_as_it_is() -> None:
    fields = {"exception": "x" * (LONGEST - 200), "runs": 3, "names": ["a", "b"]}
    assert written(**fields) == IDS | fields


def test_the_longest_value_loses_its_middle_and_no_other_a_thing() -> None:
    read = written(exception="begin" + "x\n" * 20_000 + "end", names=["a", "b"], runs=3)
    assert (read["names"], read["runs"]) == (["a", "b"], 3)
    assert read["exception"].startswith("begin")
    assert read["exception"].endswith("end")
    assert "characters …" in read["exception"]
    assert len(read["exception"]) > LONGEST // 2, "no more than it must"


def test_several_long_ones_are_all_cut() -> None:
    read = written(**{f"part{number}": "é" * 16_384 for number in range(12)}, listed=["y" * 100] * 200)
    assert len(read) == len(IDS) + 13


def test_of_too_many_fields_the_first_are_left() -> None:
    assert written(**{f"{'name' * 30}{number}": "value" * 20 for number in range(200)}) == IDS


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=100).map(lambda text: text * 400), max_size=6))
def test_whatever_stands_in_it_a_line_is_short_and_json(fields: dict[str, str]) -> None:
    line = in_one_piece(fields, first=())
    assert len(line) <= LONGEST
    assert json.loads(line).keys() <= fields.keys()


@pytest.mark.parametrize("ours", [True, False])
def test_a_long_traceback_of_a_run_stays_a_line_that_a_container_engine_does_not_cut(*, ours: bool) -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="json"), service="worker", stream=stream)
    with bind(run_id="r1", node="perform"):
        try:
            raise ValueError("wrong\n" * 20_000)  # noqa: TRY301 - it is the traceback that counts
        except ValueError:
            (get_logger("ours") if ours else logging.getLogger("theirs")).exception("a node failed " + "é" * 10_000)
    (line,) = stream.getvalue().splitlines(keepends=True)
    assert len(line.encode()) < 16 * 1024
    read = json.loads(line)
    assert (read["run_id"], read["node"], read["error_type"]) == ("r1", "perform", "ValueError")
