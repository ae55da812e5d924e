import ast
import re
from functools import cache
from pathlib import Path

import pytest

from throughline.chaos.plan import FAULTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees.md"
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
_CHAOS = re.compile(r"`throughline chaos --only ([\w-]+)`")


def lines() -> list[tuple[str, str]]:
    """What is promised, and the cell that says what proves it."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ")
    ]
    return [(row[0], row[1]) for row in rows if row[1] != "proved by"]


@cache
def defined_in(path: str) -> frozenset[str]:
    """The names of the tests that a file defines."""
    if not (ROOT / path).is_file():
        return frozenset()
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("promise", "proof"), lines())
def test_every_promise_names_what_proves_it(promise: str, proof: str) -> None:
    tests, faults = _TEST.findall(proof), _CHAOS.findall(proof)
    assert tests or faults, promise
    assert re.sub(r"\s+", "", _CHAOS.sub("", _TEST.sub("", proof))) == "", "only names stand beside a promise"
    assert [f"{path}::{name}" for path, name in tests if name not in defined_in(path)] == []
    assert set(faults) <= {fault.name for fault in FAULTS}


def test_every_fault_of_chaos_is_on_the_page() -> None:
    named = {name for _, proof in lines() for name in _CHAOS.findall(proof)}
    assert {fault.name for fault in FAULTS} <= named
