"""What a pipeline declares of its runs, made for one event."""

from typing import Any

from pipelines import Pipeline
from pipelines.paths import Attributes, value_at
from storage.policies import RunPolicy


def has_policy(pipeline: Pipeline[Any]) -> bool:
    """Say whether the pipeline declares limits, a priority, a time to begin or uniqueness."""
    return bool(pipeline.limits or pipeline.priority or pipeline.ttl is not None or pipeline.unique is not None)


def policy_of(pipeline: Pipeline[Any], attributes: Attributes) -> RunPolicy | None:
    """Return what holds for the pipeline's run of an event; None where the pipeline declares nothing.

    An event without a value where ``unique`` points is like no other.
    """
    if not has_policy(pipeline):
        return None
    return RunPolicy(
        limits=tuple(limit.key_of(attributes) for limit in pipeline.limits),
        priority=pipeline.priority,
        ttl=pipeline.ttl,
        unique_key=None if pipeline.unique is None else value_at(pipeline.unique, attributes),
    )
