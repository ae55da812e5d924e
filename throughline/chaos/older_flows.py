"""``flows`` as they were a release ago: ``chaos_grown`` had a node less, and ``chaos_fresh`` did not exist."""

from pipelines import Pipeline
from throughline.chaos.flows import (
    Confirm,
    Reserve,
    Weigh,
    Work,
    computing,
    flaky,
    limited,
    poisonous,
    spread,
    steady,
    waiting,
)

__all__ = ["computing", "flaky", "grown", "limited", "poisonous", "spread", "steady", "waiting"]

grown = Pipeline(
    name="chaos_grown",
    types=("chaos.grown",),
    schema=Work,
    start=Reserve,
    edges={Reserve: Weigh, Weigh: Confirm},
)
