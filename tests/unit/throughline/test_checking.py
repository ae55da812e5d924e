"""What ``throughline pipelines check`` finds."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import Pipeline
from settings import WorkerSettings
from throughline.checking import Finding, Level, Report, check_modules

HEAD = """
import time
from pipelines import EventSchema, Node, Pipeline, TaskContext
from pipelines.limits import Limit

class A(EventSchema):
    number: int

class First(Node[int]):
    async def run(self, ctx: TaskContext[A]) -> int:
        return ctx.data.number

class Second(Node[int]):
    async def run(self, ctx: TaskContext[A]) -> int:
        return 2
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        sys.modules.pop(name)


def check(*modules: str, **worker: tuple[str, ...]) -> Report:
    return check_modules(modules, builtin=False, worker=WorkerSettings(**worker))


def messages(report: Report, level: Level = Level.ERROR) -> list[str]:
    return [str(finding) for finding in report.findings if finding.level is level]


def pipeline(name: str, types: str = "a.b", **more: str) -> str:
    fields = {"name": f"{name!r}", "types": f"({types!r},)", "schema": "A", "start": "First"} | more
    return f"{name} = Pipeline({', '.join(f'{key}={value}' for key, value in fields.items())})\n"


def test_all_mistakes_of_all_modules_are_told_each_with_its_line(project: Path) -> None:
    (project / "many").mkdir()
    (project / "many/__init__.py").touch()
    (project / "many/one.py").write_text(
        HEAD + pipeline("cyclic", edges="{First: Second, Second: First}") + pipeline("good") + pipeline("Bad")
    )
    (project / "many/two.py").write_text("x = 1\ny = nothing\n")
    (project / "many/three.py").write_text("def f(:\n")
    report = check("many", "nowhere")
    assert report.failed
    found = messages(report)
    lines = len(HEAD.splitlines())
    assert f"error: many/one.py:{lines + 1}: pipeline 'cyclic': nodes run in a circle" in found[0]
    assert f"error: many/one.py:{lines + 3}: a pipeline's name is 'Bad'" in found[1]
    assert found[2].startswith("error: many/three.py:1: it can't be imported (SyntaxError")
    assert found[3].startswith("error: many/two.py:2: it can't be imported (NameError: name 'nothing'")
    assert found[4].startswith("error: nowhere: it can't be imported (ModuleNotFoundError")
    assert len(found) == 5
    assert report.pipelines == ("good",)
    assert report.summary == "good: 5 errors, 0 warnings"
    assert report.findings[0].pipeline == "cyclic"


def test_after_a_check_pipelines_are_checked_as_before() -> None:
    before = Pipeline.__post_init__
    check("nowhere")
    assert Pipeline.__post_init__ is before


def test_the_node_is_named_where_it_is_known() -> None:
    finding = Finding.of("pipeline 'orders', node 'charge': no output type; write it", module="m")
    assert (finding.pipeline, finding.node, finding.as_dict()["level"]) == ("orders", "charge", "error")


def test_a_module_without_a_pipeline_is_a_mistake(project: Path) -> None:
    (project / "empty_one.py").write_text("x = 1\n")
    assert messages(check("empty_one")) == [
        "error: empty_one: it has no Pipeline at its top level; add one, or take it from the list"
    ]


def test_two_pipelines_of_one_name_are_told_with_their_modules(project: Path) -> None:
    for name in ("twin_one", "twin_two"):
        (project / f"{name}.py").write_text(HEAD + pipeline("same"))
    (said,) = messages(check("twin_one", "twin_two"))
    assert "'same'" in said
    assert "twin_one, twin_two" in said


def test_a_queue_that_no_worker_takes_is_a_warning_and_no_failure(project: Path) -> None:
    (project / "slow_one.py").write_text(HEAD + pipeline("slow", queue="'slow'"))
    report = check("slow_one")
    assert not report.failed
    (said,) = messages(report, Level.WARNING)
    assert said.startswith("warning: slow_one: pipeline slow: no worker takes runs from queue 'slow'")
    assert not check("slow_one", queues=("default", "slow")).findings


@pytest.mark.parametrize(
    ("field", "types", "warned"),
    [
        ("number: str", "a.b", True),
        ("number: str", "a.*", True),
        ("number: str", "a.c", False),
        ("number: int", "a.b", False),
        ("number: float", "a.b", False),
        ("number: str | int", "a.b", False),
        ("number: str = ''", "a.b", False),
        ("other: str", "a.b", False),
    ],
)
def test_schemas_of_one_type_that_no_event_fits_are_told(project: Path, field: str, types: str, warned: bool) -> None:
    other = f"class B(EventSchema):\n    {field}\n\n"
    (project / "both.py").write_text(HEAD + other + pipeline("one") + pipeline("two", types, schema="B"))
    found = messages(check("both"), Level.WARNING)
    assert bool(found) is warned
    assert all("of data.number one wants integer, the other string: no event fits both" in said for said in found)


def test_fields_of_which_no_value_is_allowed_by_both_are_told(project: Path) -> None:
    schemas = """
from typing import Literal

class Opened(EventSchema):
    action: Literal["opened"]

class Closed(EventSchema):
    action: Literal["closed", "gone"]
"""
    both = pipeline("one", schema="Opened", start="Second") + pipeline("two", schema="Closed", start="Second")
    (project / "literal.py").write_text(HEAD + schemas + both)
    (said,) = messages(check("literal"), Level.WARNING)
    assert "of data.action one wants 'opened', the other 'closed' or 'gone': no event fits both" in said


def test_an_awaited_event_that_no_data_fits_and_a_wait_longer_than_the_run_are_told(project: Path) -> None:
    waits = """
class B(EventSchema):
    number: str

class Wait(WaitForEvent[B]):
    type = "a.b"
    match = "data.number"
    timeout = 600.0

    def key(self, ctx: TaskContext[A]) -> str:
        return str(ctx.data.number)
"""
    text = HEAD + waits + pipeline("patient", start="Wait", lifetime="60.0")
    (project / "waits_one.py").write_text(text.replace("import EventSchema", "import EventSchema, WaitForEvent"))
    first, second = messages(check("waits_one"), Level.WARNING)
    assert "pipeline 'patient' and pipeline 'patient', node 'wait' both take a.b, but of data.number" in first
    assert "pipeline 'patient', node 'wait': it waits up to 600 s, but the pipeline's lifetime is 60 s" in second


def test_a_limit_with_other_numbers_in_another_pipeline_is_a_mistake_that_names_both(project: Path) -> None:
    limit = "(Limit(name='bank', concurrency={}),)"
    (project / "limited_one.py").write_text(HEAD + pipeline("p", limits=limit.format(1)))
    (project / "limited_two.py").write_text(HEAD + pipeline("q", limits=limit.format(2)) + pipeline("r"))
    (said,) = messages(check("limited_one", "limited_two"))
    assert all(word in said for word in ("'p'", "'q'", "'bank'", "(limited_one, limited_two)"))


def test_a_node_that_blocks_the_loop_is_told_and_one_in_a_thread_is_not(project: Path) -> None:
    nodes = """
class Blocks(Node[int]):
    async def run(self, ctx: TaskContext[A]) -> int:
        time.sleep(1)
        return 1

class Waits(Node[int]):
    def run(self, ctx: TaskContext[A]) -> int:
        time.sleep(1)
        return 1
"""
    (project / "blocks.py").write_text(HEAD + nodes + pipeline("p", start="Blocks", edges="{Blocks: Waits}"))
    (said,) = messages(check("blocks"), Level.WARNING)
    assert "pipeline 'p', node 'blocks': it is async def and calls time.sleep" in said
