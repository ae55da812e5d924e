"""Version 2 alone, otherwise from its first node on; runs of before begin again."""

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
    on_change="restart",
    retry=PATIENT,
)
