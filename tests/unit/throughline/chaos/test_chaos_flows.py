from collections.abc import Iterator

from pipelines import PipelineRegistry
from pipelines.kinds import Kind
from pipelines.steps import Step
from throughline.chaos.flows import ITEMS, NODES
from throughline.chaos.stack import FLOWS, OLDER_FLOWS


def calls_of(step: Step) -> Iterator[str]:
    match step.kind:
        case Kind.NODE:
            yield step.name
        case Kind.MAP:
            yield from (f"{step.name}:{item}" for item in range(1, ITEMS + 1))
        case Kind.CONCURRENT:
            yield from (branch.name for branch in step.branches)


def test_every_pipeline_has_the_nodes_that_the_audit_looks_for() -> None:
    registry = PipelineRegistry.load([FLOWS], builtin=False)
    found = {
        type_: {call for step in pipeline.steps.values() for call in calls_of(step)}
        for pipeline in registry.pipelines
        for type_ in pipeline.types
    }
    assert found == {type_: set(nodes) for type_, nodes in NODES.items()}


def test_older_code_lacks_one_pipeline_and_the_present_version_of_another() -> None:
    new, old = (PipelineRegistry.load([module], builtin=False) for module in (FLOWS, OLDER_FLOWS))
    assert {p.name for p in new.pipelines} - {p.name for p in old.pipelines} == {"chaos_fresh"}
    versions = {p.name: p.version for p in new.pipelines}
    assert {p.name for p in old.pipelines if p.version < versions[p.name]} == {"chaos_grown"}
