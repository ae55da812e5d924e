import pytest

from events import JsonValue
from throughline.backtest.differences import NOTHING, differences


@pytest.mark.parametrize(
    ("production", "code", "found"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("o.a", 1, True)]),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, [("o.a.b.1.c", 2, 3)]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, [("o.a", 1, NOTHING), ("o.c", NOTHING, 3)]),
        ([1, 2], [1], [("o.1", 2, NOTHING)]),
        ({"a": 1}, [1], [("o", {"a": 1}, [1])]),
        ({"a": None}, {}, [("o.a", None, NOTHING)]),
        ("x", "x", []),
    ],
)
def test_the_innermost_places_that_differ_are_named(
    production: JsonValue, code: JsonValue, found: list[tuple[str, object, object]]
) -> None:
    told = [(one.path, one.production, one.code) for one in differences("o", production, code)]
    assert told == found
