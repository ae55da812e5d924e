"""``within_one`` with a node more, and without version 1."""

from pipelines import Pipeline
from tests.support.flows import First, Last, Probe, Slow
from tests.support.releases.nodes import PATIENT, Both, Each, Opening

grown = Pipeline(
    name="grown",
    version=2,
    types=("test.grown",),
    schema=Probe,
    start=First,
    edges={First: Both, Both: Each, Each: Slow, Slow: Opening, Opening: Last},
    retry=PATIENT,
)
