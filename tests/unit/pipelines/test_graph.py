"""Every mistake in a pipeline has an error of its own, whose message names the pipeline, the node and the mend."""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from events import ConfigurationError, Permanent, Transient
from pipelines import EventSchema, Node, Pipeline, PipelineError, RetryPolicy, Route, RouterNode, TaskContext, errors
from pipelines.node import declared_output

T = TypeVar("T")


class Data(EventSchema):
    number: int = 0


class First(Node[int]):
    """Begins."""

    async def run(self, ctx: TaskContext[Data]) -> int:
        return ctx.data.number


class Second(First):
    pass


class Third(First):
    pass


class Choose(RouterNode):
    """Chooses."""

    routes = (Route(to=Second, when=lambda ctx: ctx.data.number > 0),)
    fallback = Third


def make(**changes: Any) -> Pipeline[Any]:
    values: dict[str, Any] = {"name": "p", "types": ("t.a",), "schema": Data, "start": First}
    return Pipeline(**(values | changes))


def refused(error: type[PipelineError], *words: str, **changes: Any) -> None:
    with pytest.raises(error) as caught:
        make(**changes)
    assert type(caught.value) is error
    for word in ("p", *words):
        assert word in str(caught.value)


def test_every_error_is_a_pipeline_error_and_a_configuration_error() -> None:
    assert issubclass(PipelineError, ConfigurationError)
    for error in (errors.CycleError, errors.InvalidRouteError, errors.PipelineImportError):
        assert issubclass(error, PipelineError)


@pytest.mark.parametrize("name", ["", "Triage", "1st", "a b", "a-b", "x" * 64, None, 7, "näme", "a\n"])
def test_a_name_that_cannot_stand_in_a_table_a_metric_and_a_url(name: object) -> None:
    refused(errors.InvalidNameError, repr(name), "lower-case", name=name)


@pytest.mark.parametrize("queue", ["", "Default", "a b", None, "-"])
def test_a_queue_without_a_proper_name(queue: object) -> None:
    refused(errors.InvalidNameError, "'p'", "queue", queue=queue)


@pytest.mark.parametrize("version", [0, -1, True, 1.5, "1", None])
def test_a_version_that_is_no_whole_number(version: object) -> None:
    refused(errors.InvalidVersionError, "'p'", repr(version), version=version)


@pytest.mark.parametrize("timeout", [0, -1.0, float("inf"), float("nan"), True, "5", None])
def test_a_pipeline_without_a_proper_timeout(timeout: object) -> None:
    refused(errors.InvalidTimeoutError, "'p'", repr(timeout), timeout=timeout)


@pytest.mark.parametrize(
    "types",
    [
        (),
        "t.a",
        ["t.a"],
        ("",),
        ("*",),
        ("t*",),
        ("t.*.a",),
        ("a b",),
        (".a",),
        ("a.",),
        ("a", "a"),
        (1,),
        ("a" * 256,),
    ],
)
def test_types_that_are_neither_exact_nor_prefixes(types: object) -> None:
    refused(errors.InvalidTypePatternError, "'p'", types=types)


@pytest.mark.parametrize("types", [("github.issues",), ("github.*", "com.acme.order_v2.*"), ("A-1",)])
def test_exact_types_and_prefixes_are_taken(types: tuple[str, ...]) -> None:
    assert make(types=types).types == types


@pytest.mark.parametrize("schema", [None, dict, int, Data()])
def test_a_schema_that_is_no_model(schema: object) -> None:
    refused(errors.InvalidSchemaError, "'p'", "EventSchema", schema=schema)


def test_a_schema_that_has_no_json_schema() -> None:
    class Odd(BaseModel):
        when: Callable[[], int]

    refused(errors.InvalidSchemaError, "'p'", "Odd", schema=Odd)


@pytest.mark.parametrize("start", [None, "First", First(), int, Node, RouterNode])
def test_no_node_to_start_with(start: object) -> None:
    refused(errors.NoStartError, "'p'", "start", start=start)


@pytest.mark.parametrize("target", [None, "Second", int, Second()])
def test_an_edge_that_leads_to_no_node(target: object) -> None:
    refused(errors.MissingNodeError, "'p'", "'first'", "node class", edges={First: target})


def test_an_edge_that_starts_at_no_node() -> None:
    refused(errors.MissingNodeError, "'p'", "'Zeroth'", edges={"Zeroth": First})


def test_a_cycle_is_shown_as_the_way_it_takes() -> None:
    refused(errors.CycleError, "first -> second -> third -> first", edges={First: Second, Second: Third, Third: First})
    refused(errors.CycleError, "first -> first", edges={First: First})


def test_a_cycle_through_a_router() -> None:
    refused(errors.CycleError, "choose", "second", edges={First: Choose, Second: First})


def test_a_node_that_nothing_leads_to() -> None:
    refused(errors.UnreachableNodeError, "'p'", "'second'", edges={Second: Third})


def test_two_nodes_of_one_name() -> None:
    class Other(First):
        name = "first"

    refused(errors.DuplicateNodeError, "First", "Other", "'first'", edges={First: Other})


def test_a_node_whose_name_is_none() -> None:
    class Odd(First):
        name = "No Name"

    refused(errors.InvalidNameError, "'p'", "Odd", "'No Name'", start=Odd)


def test_a_node_without_run() -> None:
    class Lazy(Node[int]):
        pass

    refused(errors.InvalidNodeError, "'lazy'", "run", start=Lazy)


def test_a_node_whose_constructor_wants_arguments() -> None:
    class Needy(First):
        def __init__(self, client: object) -> None:
            self.client = client

    refused(errors.InvalidNodeError, "'needy'", "client", start=Needy)


@pytest.mark.parametrize("timeout", [0, -2, float("nan"), "1", False])
def test_a_node_without_a_proper_timeout(timeout: Any) -> None:
    slow = type("Slow", (First,), {"timeout": timeout})
    refused(errors.InvalidTimeoutError, "'p'", "'slow'", repr(timeout), start=slow)


def test_a_node_without_an_output_type() -> None:
    class Bare(Node):  # type: ignore[type-arg]  # the mistake under test
        async def run(self, _: TaskContext[Data]) -> int:
            return 1

    refused(errors.OutputTypeError, "'bare'", "Node[Output]", start=Bare)


def test_an_output_type_that_json_does_not_have() -> None:
    class Thing:
        pass

    class Odd(Node[Thing]):
        async def run(self, _: TaskContext[Data]) -> Thing:
            return Thing()

    refused(errors.OutputTypeError, "'odd'", "Thing", start=Odd)


def test_the_output_type_is_found_behind_generic_classes() -> None:
    class Between(Node[list[T]], Generic[T]):
        async def run(self, _: TaskContext[Data]) -> list[T]:
            return []

    class Leaf(Between[str]):
        pass

    class Below(Leaf):
        pass

    assert declared_output(Below) == list[str]
    with pytest.raises(TypeError):
        declared_output(Between)


def test_a_router_with_an_edge() -> None:
    refused(errors.RouterEdgeError, "'choose'", "routes", start=Choose, edges={Choose: Second})


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"fallback": None}, "routes"),
        ({"routes": (), "fallback": Second}, "routes"),
        ({"routes": [Route(to=Second, when=bool)], "fallback": None}, "routes"),
        ({"routes": (Second,), "fallback": None}, "routes"),
        ({"routes": (Route(to=Second, when=bool),)}, "fallback"),
        ({"routes": (Route(to=Second, when="yes"),), "fallback": None}, "'second'"),  # type: ignore[arg-type]  # the mistake
    ],
)
def test_a_router_that_cannot_choose(attributes: dict[str, Any], word: str) -> None:
    router = type("Wrong", (RouterNode,), attributes)
    refused(errors.InvalidRouteError, "'wrong'", word, start=router)


@pytest.mark.parametrize(
    "attributes",
    [
        {"routes": (Route(to="Second", when=bool),), "fallback": None},  # type: ignore[arg-type]  # the mistake
        {"routes": (Route(to=Second, when=bool),), "fallback": "Third"},
    ],
)
def test_a_route_that_leads_to_no_node(attributes: dict[str, Any]) -> None:
    refused(errors.MissingNodeError, "'wrong'", "node class", start=type("Wrong", (RouterNode,), attributes))


@pytest.mark.parametrize(
    "values",
    [
        {"max_attempts": 0},
        {"max_attempts": True},
        {"base": -1.0},
        {"base": "1"},
        {"base": 2.0, "cap": 1.0},
        {"cap": float("inf")},
        {"max_retry_after": -1.0},
        {"max_retry_after": float("nan")},
        {"retry_on": OSError},
        {"retry_on": (OSError("an instance"),)},
        {"give_up_on": [OSError]},
        {"retry_on": (Permanent,)},
        {"give_up_on": (Exception,)},
        {"give_up_on": (Transient,)},
        {"retry_on": (ConnectionError,), "give_up_on": (OSError,)},
    ],
)
def test_a_retry_policy_that_makes_no_sense(values: dict[str, Any]) -> None:
    word = next(reversed(values))
    refused(errors.InvalidRetryPolicyError, "pipeline 'p': retry:", word, retry=RetryPolicy(**values))
    wrong = type("Wrong", (First,), {"retry": RetryPolicy(**values)})
    refused(errors.InvalidRetryPolicyError, "pipeline 'p', node 'wrong': retry:", word, start=wrong)


def test_a_retry_policy_that_is_none() -> None:
    refused(errors.InvalidRetryPolicyError, "pipeline 'p': retry: is 3", retry=3)
    wrong = type("Wrong", (First,), {"retry": {"max_attempts": 3}})
    refused(errors.InvalidRetryPolicyError, "node 'wrong': retry: is {'max_attempts': 3}", start=wrong)


def test_names_are_the_class_names_in_snake_case_unless_the_class_says_otherwise() -> None:
    class FetchHTTPBody(First):
        pass

    class Renamed(First):
        name = "kept"

    class Heir(Renamed):
        pass

    assert (FetchHTTPBody.name, Renamed.name, Heir.name) == ("fetch_http_body", "kept", "heir")


def test_a_pipeline_cannot_be_changed() -> None:
    edges: dict[Any, Any] = {First: Second}
    pipeline = make(edges=edges)
    with pytest.raises(dataclasses.FrozenInstanceError):
        pipeline.name = "q"  # type: ignore[misc]  # the mistake under test
    with pytest.raises(TypeError):
        pipeline.edges[Second] = Third  # type: ignore[index]  # the mistake under test
    edges[Second] = Third
    assert Second not in pipeline.edges


def test_branches_may_meet_again() -> None:
    class Join(First):
        pass

    pipeline = make(edges={First: Choose, Second: Join, Third: Join})
    assert pipeline.steps["choose"].skips == {"second": ("third",), "third": ("second",)}


def test_a_pipeline_describes_itself() -> None:
    class Send(Second):
        """Sends it.

        More text.
        """

        effects = True
        timeout = 5.0

    described = make(edges={First: Send, Send: Choose}, queue="slow", timeout=9.0).describe()
    assert [(node.name, node.kind, node.effects, node.timeout, node.next) for node in described.nodes[:3]] == [
        ("first", "node", False, None, ("send",)),
        ("send", "node", True, 5.0, ("choose",)),
        ("choose", "router", False, None, ("second", "third")),
    ]
    assert {node.name for node in described.nodes[3:]} == {"second", "third"}
    assert described.nodes[1].summary == "Sends it."
    assert (described.start, described.queue, described.timeout, described.max_attempts) == ("first", "slow", 9.0, 3)
    assert described.schema_name == "Data"
    assert described.json_schema["properties"] == {"number": {"default": 0, "title": "Number", "type": "integer"}}
