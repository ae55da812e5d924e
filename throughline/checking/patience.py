from collections.abc import Iterable, Iterator
from typing import Any

from pipelines import Pipeline


def endless_waits(pipelines: Iterable[Pipeline[Any]]) -> Iterator[tuple[tuple[Pipeline[Any], ...], str]]:
    """Yield waits that may take longer than the run has: it then fails before its time to wait is over."""
    for pipeline in pipelines:
        for step in pipeline.all_steps.values():
            if pipeline.lifetime is not None and step.wait >= pipeline.lifetime:
                place = f"pipeline {pipeline.name!r}, node {step.name!r}"
                said = (
                    f"{place}: it waits up to {step.wait:g} s, but the pipeline's lifetime is {pipeline.lifetime:g} s, "
                    "after which the run has failed; shorten the wait, or lengthen the lifetime"
                )
                yield (pipeline,), said
