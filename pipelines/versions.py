"""Which version of a pipeline a run goes on with."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.matching import Done, mismatch
from pipelines.pipeline import Pipeline


class Course(StrEnum):
    """What is to be done with a run.

    ``kept``: it goes on in its own version. ``resumed``: in a newer one, whose graph fits what it has done.
    ``restarted``: from the start, what it has done being forgotten. ``incompatible``: it can't go on. ``deferred``:
    whoever has its version, or a newer one, is to take it.
    """

    KEPT = "kept"
    RESUMED = "resumed"
    RESTARTED = "restarted"
    INCOMPATIBLE = "incompatible"
    DEFERRED = "deferred"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The ``pipeline`` that a run goes on with, or would have; ``reason`` says what does not match its graph."""

    course: Course
    pipeline: Pipeline[Any]
    reason: str = ""


def resolve(versions: Sequence[Pipeline[Any]], *, version: int, done: Done) -> Resolution:
    """Decide how a run of ``version`` that has ``done`` something goes on, among these ``versions`` of its pipeline.

    Its own version is taken where it is there, otherwise the newest; if what is done doesn't match the graph of that,
    its ``on_change`` decides.
    """
    newest = max(versions, key=lambda pipeline: pipeline.version)
    chosen = next((pipeline for pipeline in versions if pipeline.version == version), newest)
    if chosen.version < version:
        return Resolution(course=Course.DEFERRED, pipeline=newest)
    reason = mismatch(chosen, done) if done else None
    if reason is not None:
        course = Course.RESTARTED if chosen.on_change == "restart" else Course.INCOMPATIBLE
        return Resolution(course=course, pipeline=chosen, reason=reason)
    return Resolution(course=Course.KEPT if chosen.version == version else Course.RESUMED, pipeline=chosen)


def explain(resolution: Resolution, versions: Sequence[Pipeline[Any]], *, version: int) -> str:
    """Word why a run of ``version`` can't go on, and what mends it."""
    pipeline, reason = resolution.pipeline, resolution.reason
    if pipeline.version == version:
        return (
            f"the run began in version {version} of pipeline {pipeline.name!r}, and here version {version} has another "
            f"graph: {reason}; give a changed graph a new version, and replay the run"
        )
    known = ", ".join(str(number) for number in sorted(item.version for item in versions))
    return (
        f"the run began in version {version} of pipeline {pipeline.name!r}, which is not here any more (here: "
        f"{known}), and can't go on in version {pipeline.version}: {reason}; replay the run, and next time keep the "
        "old version beside the new one, or set on_change='restart'"
    )
