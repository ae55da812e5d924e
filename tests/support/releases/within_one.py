"""What is done stands within nodes, too."""

from pipelines import Pipeline
from tests.support.flows import First, Last, Probe, Slow
from tests.support.releases.nodes import PATIENT, Both, Each

grown = Pipeline(
    name="grown",
    types=("test.grown",),
    schema=Probe,
    start=First,
    edges={First: Both, Both: Each, Each: Slow, Slow: Last},
    retry=PATIENT,
)
