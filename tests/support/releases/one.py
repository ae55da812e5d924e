from pipelines import Pipeline
from tests.support.flows import First, Last, Probe, Slow
from tests.support.releases.nodes import PATIENT

grown = Pipeline(
    name="grown",
    types=("test.grown",),
    schema=Probe,
    start=First,
    edges={First: Slow, Slow: Last},
    retry=PATIENT,
)
