from pipelines import PipelineRegistry
from throughline.chaos.flows import NODES
from throughline.chaos.stack import FLOWS, OLDER_FLOWS


def test_every_pipeline_has_the_nodes_that_the_audit_looks_for() -> None:
    registry = PipelineRegistry.load([FLOWS], builtin=False)
    found = {name: tuple(pipeline.steps) for pipeline in registry.pipelines for name in pipeline.types}
    assert {name: set(nodes) for name, nodes in found.items()} == {name: set(nodes) for name, nodes in NODES.items()}


def test_older_code_lacks_one_pipeline_and_the_present_version_of_another() -> None:
    new, old = (PipelineRegistry.load([module], builtin=False) for module in (FLOWS, OLDER_FLOWS))
    assert {p.name for p in new.pipelines} - {p.name for p in old.pipelines} == {"chaos_fresh"}
    versions = {p.name: p.version for p in new.pipelines}
    assert {p.name for p in old.pipelines if p.version < versions[p.name]} == {"chaos_grown"}
