"""Version 2 alone, and otherwise from its first node on."""

from pipelines import Pipeline
from tests.support.flows import Last, Probe, Slow
from tests.support.releases.nodes import PATIENT, Opening

grown = Pipeline(
    name="grown",
    version=2,
    types=("test.grown",),
    schema=Probe,
    start=Opening,
    edges={Opening: Slow, Slow: Last},
    retry=PATIENT,
)
