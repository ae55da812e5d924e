"""Version 1 once more, with another graph: somebody forgot to give it a new version."""

from pipelines import Pipeline
from tests.support.flows import Last, Probe, Slow
from tests.support.releases.nodes import PATIENT, Opening

grown = Pipeline(
    name="grown",
    types=("test.grown",),
    schema=Probe,
    start=Opening,
    edges={Opening: Slow, Slow: Last},
    retry=PATIENT,
)
