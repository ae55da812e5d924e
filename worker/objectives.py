from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from events import RunStatus
from observability.metrics import Metrics, Sli
from pipelines import Pipeline, Target

_Count: TypeAlias = Callable[[], None]


class Objectives:
    """Counts what pipelines promise against what came of it; see ``Slo``."""

    def __init__(self, metrics: Metrics, *, pipelines: Iterable[Pipeline[Any]] = ()) -> None:
        """Show the series of ``pipelines`` from the start: of one that begins with 1 nobody could see the increase."""
        self._metrics = metrics
        self._counts: dict[tuple[str, Sli], tuple[_Count, _Count]] = {}
        for pipeline in pipelines:
            if pipeline.slo and pipeline.slo.queueing:
                self._of(pipeline.name, Sli.QUEUEING)
            if pipeline.slo and pipeline.slo.execution:
                self._of(pipeline.name, Sli.EXECUTION)

    def claimed(self, pipeline: Pipeline[Any], *, waited: float) -> None:
        """Count a claim, ``waited`` seconds after the run was due."""
        if pipeline.slo and (target := pipeline.slo.queueing):
            self._of(pipeline.name, Sli.QUEUEING)[_in_time(target, waited)]()

    def ended(self, pipeline: Pipeline[Any], status: RunStatus, *, took: float) -> None:
        """Count a try of ``took`` seconds after which the run is ``status``; only success and failure tell anything."""
        if pipeline.slo and (target := pipeline.slo.execution) and status in _TELLING:
            good = status is RunStatus.SUCCEEDED and _in_time(target, took)
            self._of(pipeline.name, Sli.EXECUTION)[good]()

    def _of(self, pipeline: str, sli: Sli) -> tuple[_Count, _Count]:
        found = self._counts.get((pipeline, sli))
        if found is None:
            bad, good = (self._metrics.slo_events.labels(sli=sli, pipeline=pipeline, good=is_) for is_ in (False, True))
            found = self._counts[pipeline, sli] = (bad.inc, good.inc)
        return found


_TELLING = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED})


def _in_time(target: Target, seconds: float) -> bool:
    return target.within is None or seconds <= target.within
