"""Every real delivery is taken by the flows that ship, and ends well."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from events import Event, Succeeded, new_id
from pipelines import MemoryJournal, PipelineRegistry, execute

FOLDER = Path(__file__).parents[5] / "shared" / "data" / "github-webhooks"
BODIES = sorted(FOLDER.glob("*/*.json"))
REGISTRY = PipelineRegistry.load()

pytestmark = pytest.mark.skipif(not BODIES, reason="no GitHub deliveries in ../shared/data/github-webhooks")


def read(path: Path) -> Event:
    return Event(
        event_id=new_id(),
        ce_id=path.stem,
        type=f"github.{path.parent.name}",
        data=json.loads(path.read_bytes()),
        received_at=datetime.now(UTC),
    )


@pytest.mark.parametrize("path", BODIES, ids=lambda path: f"{path.parent.name}/{path.name.partition('.')[0]}")
async def test_every_delivery_is_valid_and_every_run_of_it_succeeds(path: Path) -> None:
    event = read(path)
    assert REGISTRY.validate(event.type, event.data) == ()
    names = [pipeline.name for pipeline in REGISTRY.route(event.type)]
    assert names == (["issue_triage"] if event.type == "github.issues" else []) + ["repository_activity"]
    for pipeline in REGISTRY.route(event.type):
        journal = MemoryJournal()
        assert await execute(pipeline, pipeline.context(event), journal) == Succeeded()
        assert {node for node, _ in journal.done} == set(pipeline.steps)
