import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from pipelines import EventSchema, FieldProblem, Node, Pipeline, PipelineRegistry, TaskContext
from pipelines.errors import (
    CycleError,
    DuplicatePipelineError,
    NoPipelineError,
    PipelineImportError,
)


class Data(EventSchema):
    number: int = 0


class Step(Node[None]):
    async def run(self, _: TaskContext[Any]) -> None:
        return None


def make(name: str, *types: str, schema: type[BaseModel] = Data) -> Pipeline[Any]:
    return Pipeline(name=name, types=types, schema=schema, start=Step)


def names(registry: PipelineRegistry, event_type: str) -> list[str]:
    return [pipeline.name for pipeline in registry.route(event_type)]


@pytest.fixture
def registry() -> PipelineRegistry:
    return PipelineRegistry(
        [make("all", "github.*"), make("deep", "github.pull.*"), make("issues", "github.issues", "gitlab.issues")]
    )


@pytest.mark.parametrize(
    ("event_type", "found"),
    [
        ("github.issues", ["all", "issues"]),
        ("gitlab.issues", ["issues"]),
        ("github.push", ["all"]),
        ("github.a.b", ["all"]),
        ("github.pull", ["all"]),
        ("github.pull.opened", ["all", "deep"]),
        ("github.pull.opened.late", ["all", "deep"]),
        ("github", []),
        ("github.", []),
        ("githubx.push", []),
        ("GitHub.push", []),
        (".", []),
        ("", []),
        ("gitlab.*", []),
    ],
)
def test_an_event_goes_to_every_pipeline_of_its_type_or_prefix_once(
    registry: PipelineRegistry, event_type: str, found: list[str]
) -> None:
    assert names(registry, event_type) == found


words = st.sampled_from(["a", "b", "c"])
types = st.lists(words, min_size=1, max_size=4).map(".".join)
patterns = st.one_of(types, types.map(lambda name: f"{name}.*"))


@given(st.lists(st.lists(patterns, min_size=1, max_size=3, unique=True), max_size=6), types)
def test_routing_is_what_the_patterns_say(taken: list[list[str]], event_type: str) -> None:
    registry = PipelineRegistry([make(f"p{index}", *each) for index, each in enumerate(taken)])
    expected = [
        f"p{index}"
        for index, each in enumerate(taken)
        if any(p == event_type or (p.endswith(".*") and event_type.startswith(p[:-1])) for p in each)
    ]
    assert names(registry, event_type) == expected


def test_asking_for_unknown_types_fills_no_memory(registry: PipelineRegistry) -> None:
    before = {key: len(value) for key, value in vars(registry._table).items()}
    for number in range(1000):
        registry.route(f"github.unknown.{number}")
    assert {key: len(value) for key, value in vars(registry._table).items()} == before


def test_the_registry_knows_its_pipelines_and_types(registry: PipelineRegistry) -> None:
    assert [pipeline.name for pipeline in registry.pipelines] == ["all", "deep", "issues"]
    assert registry.types == {"github.*", "github.pull.*", "github.issues", "gitlab.issues"}
    assert registry.get("all") is registry.pipelines[0]
    assert registry.get("unknown") is None


def test_two_pipelines_of_one_name() -> None:
    with pytest.raises(DuplicatePipelineError, match="'same'"):
        PipelineRegistry([make("same", "a"), make("same", "b")])


# --- discovery

FLOW = """
from pipelines import EventSchema, Node, Pipeline
class Step(Node[None]):
    async def run(self, ctx):
        return None
pipeline = Pipeline(name="{name}", types=("t",), schema=EventSchema, start=Step{more})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_flows"]:
        monkeypatch.delitem(sys.modules, name)
    root = tmp_path / "acme_flows"
    root.mkdir()
    (root / "__init__.py").write_text("")
    return root


def test_the_flows_that_ship_are_found_by_themselves() -> None:
    assert {"issue_triage", "repository_activity"} <= {pipeline.name for pipeline in PipelineRegistry.load().pipelines}


def test_a_named_package_is_searched_with_all_that_is_in_it(package: Path) -> None:
    (package / "one.py").write_text(FLOW.format(name="one", more=""))
    (package / "inner").mkdir()
    (package / "inner" / "__init__.py").write_text("from acme_flows.one import pipeline as again")
    (package / "inner" / "two.py").write_text(FLOW.format(name="two", more=""))
    registry = PipelineRegistry.load(["acme_flows"], builtin=False)
    assert [pipeline.name for pipeline in registry.pipelines] == ["one", "two"]


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import no_such_thing", "ModuleNotFoundError"),
        ("1/0", "ZeroDivisionError"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_cause(package: Path, code: str, cause: str) -> None:
    (package / "broken.py").write_text(code)
    with pytest.raises(PipelineImportError, match=rf"acme_flows\.broken.*{cause}.*THROUGHLINE_PIPELINES_MODULES"):
        PipelineRegistry.load(["acme_flows"], builtin=False)


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(PipelineImportError, match="acme_nowhere"):
        PipelineRegistry.load(["acme_nowhere"])


def test_a_module_without_a_pipeline(package: Path) -> None:
    with pytest.raises(NoPipelineError, match=package.name):
        PipelineRegistry.load(["acme_flows"])


def test_a_wrong_pipeline_keeps_its_own_error(package: Path) -> None:
    (package / "wrong.py").write_text(FLOW.format(name="wrong", more=", edges={Step: Step}"))
    with pytest.raises(CycleError, match="'wrong'") as caught:
        PipelineRegistry.load(["acme_flows"])
    assert any("acme_flows.wrong" in note for note in caught.value.__notes__)


def test_two_modules_with_pipelines_of_one_name_are_both_named(package: Path) -> None:
    for module in ("one", "two"):
        (package / f"{module}.py").write_text(FLOW.format(name="same", more=""))
    with pytest.raises(DuplicatePipelineError, match=r"'same'.*acme_flows\.one.*acme_flows\.two"):
        PipelineRegistry.load(["acme_flows"])


# --- validation


def problems(schema: type[BaseModel], data: Any) -> tuple[FieldProblem, ...]:
    return PipelineRegistry([make("p", "t", schema=schema)]).validate("t", data)


def test_data_that_fits_has_no_problems() -> None:
    assert problems(Data, {"number": 3, "unknown": True}) == ()


def test_nobody_minds_data_that_nobody_takes(registry: PipelineRegistry) -> None:
    assert registry.validate("unknown", {"number": "x"}) == ()


def test_a_problem_names_the_field_by_its_path() -> None:
    class Outer(EventSchema):
        items: list[Data]

    found = problems(Outer, {"items": [{}, {"number": "seven"}]})
    assert [problem.path for problem in found] == [("data", "items", 1, "number")]
    assert "integer" in found[0].message


@pytest.mark.parametrize("data", [None, [], "text", 5, True])
def test_data_that_is_no_object(data: Any) -> None:
    assert problems(Data, data) == (FieldProblem(("data",), "Input should be an object"),)


def test_the_problems_of_all_matching_pipelines_are_told_once() -> None:
    class Other(EventSchema):
        number: int
        name: str

    both = PipelineRegistry([make("a", "t", schema=Data), make("b", "t", schema=Other), make("c", "t.*", schema=Other)])
    assert [problem.path[-1] for problem in both.validate("t", {"number": "x"})] == ["number", "name"]


def test_a_strict_schema_is_checked_by_the_rules_for_json() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(strict=True)
        at: datetime
        number: int

    assert problems(Strict, {"at": "2026-01-01T00:00:00Z", "number": 1}) == ()
    assert [problem.path for problem in problems(Strict, {"at": "2026-01-01T00:00:00Z", "number": "1"})] == [
        ("data", "number")
    ]


SECRET = "hunter2"


class Kind(BaseModel):
    kind: Literal["a"]


class OtherKind(BaseModel):
    kind: Literal["b"]


class Careless(EventSchema):
    pin: int | None = None
    choice: Literal["x", "y"] | None = None
    tagged: Annotated[Kind | OtherKind, Field(discriminator="kind")] | None = None
    quoted: str | None = None
    asserted: dict[str, str] | None = None

    @field_validator("quoted")
    @classmethod
    def _quote(cls, value: str, _: ValidationInfo) -> str:
        raise ValueError(f"{value} is not wanted")

    @field_validator("asserted")
    @classmethod
    def _assert(cls, value: dict[str, str]) -> dict[str, str]:
        assert not value, f"got {value}"
        return value


@pytest.mark.parametrize(
    "data",
    [
        {"pin": SECRET},
        {"choice": SECRET},
        {"tagged": {"kind": SECRET}},
        {"quoted": SECRET},
        {"asserted": {"password": SECRET}},
    ],
)
def test_no_message_holds_a_value_of_the_input(data: Any) -> None:
    found = problems(Careless, data)
    assert len(found) == 1
    assert SECRET not in str(found)


def test_an_authors_message_is_kept_if_it_quotes_nothing() -> None:
    class Careful(EventSchema):
        plan: str

        @field_validator("plan")
        @classmethod
        def _known(cls, _: str) -> str:
            raise ValueError("is not a plan that we sell")

    assert problems(Careful, {"plan": SECRET})[0].message == "Value error, is not a plan that we sell"


def test_a_validator_that_breaks_is_a_problem_and_no_crash() -> None:
    class Broken(EventSchema):
        number: int

        @field_validator("number")
        @classmethod
        def _break(cls, value: int) -> int:
            raise KeyError(value)

    assert "KeyError" in problems(Broken, {"number": 1})[0].message


class Many(EventSchema):
    items: list[int]


@pytest.mark.parametrize(("wrong", "told"), [(5, 5), (21, 20), (999, 20), (100_000, 1)])
def test_the_number_of_problems_is_bounded(wrong: int, told: int) -> None:
    assert len(problems(Many, {"items": ["x"] * wrong})) == told


def test_a_path_is_bounded_too() -> None:
    class Mapped(EventSchema):
        items: dict[str, int]

    found = problems(Mapped, {"items": {"k" * 10_000: "x"}})
    assert len(str(found[0].path)) < 200


def test_what_is_not_unicode_is_no_crash() -> None:
    assert problems(Data, {"number": "\ud800"})


def test_one_strict_field_within_is_enough_for_the_rules_of_json() -> None:
    class Inner(BaseModel):
        at: Annotated[datetime, Field(strict=True)]

    class Outer(EventSchema):
        inner: list[Inner]

    assert problems(Outer, {"inner": [{"at": "2026-01-01T00:00:00Z"}]}) == ()
    assert problems(Outer, {"inner": [{"at": "yesterday"}]})[0].path == ("data", "inner", 0, "at")


def test_a_field_named_strict_is_no_strict_field() -> None:
    class Named(EventSchema):
        strict: bool
        number: int

    assert problems(Named, {"strict": True, "number": "7"}) == ()
