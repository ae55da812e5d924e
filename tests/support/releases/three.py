"""Two deploys later, without what was before; the data was given a unit in version 2."""

from pipelines import Pipeline
from tests.support.flows import First, Last, Slow
from tests.support.releases.nodes import PATIENT, Measure, UnitProbe, add_unit

grown = Pipeline(
    name="grown",
    version=3,
    types=("test.grown",),
    schema=UnitProbe,
    start=First,
    edges={First: Slow, Slow: Measure, Measure: Last},
    upcasts={1: add_unit, 2: lambda data: data},
    retry=PATIENT,
)
