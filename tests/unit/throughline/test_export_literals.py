import ast
from typing import Any

import pytest

from throughline.export.literals import literal


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -1.5e300,
        10**30,
        'it\'s "quoted" \\ and\nbroken \u2028 \u202e \x1b \U0001f600 ü',
        [],
        {},
        {"a": [1, {"b": [None, False]}], "": "x" * 300},
        [{"key": "word " * 10, "list": list(range(40))}] * 3,
    ],
)
def test_json_comes_back_from_the_python_that_is_written(value: Any) -> None:
    written = literal(value, indent=4)
    assert ast.literal_eval(written) == value
    assert written.isprintable() or "\n" in written


def test_what_fits_stands_on_a_line_and_what_does_not_is_broken_as_formatters_do() -> None:
    assert literal({"a": [1, "b"]}, indent=4) == '{"a": [1, "b"]}'
    assert literal({"a": "x" * 50, "b": ["y" * 60]}, indent=4).splitlines() == [
        "{",
        f'        "a": "{"x" * 50}",',
        f'        "b": ["{"y" * 60}"],',
        "    }",
    ]
