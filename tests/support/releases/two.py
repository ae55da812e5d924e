"""Version 2 alone: a node more, behind what a run that is half done has done."""

from pipelines import Pipeline
from tests.support.flows import First, Last, Probe, Slow
from tests.support.releases.nodes import PATIENT, Check

grown = Pipeline(
    name="grown",
    version=2,
    types=("test.grown",),
    schema=Probe,
    start=First,
    edges={First: Slow, Slow: Check, Check: Last},
    retry=PATIENT,
)
