"""What is told of runs whose process has died, whoever finds that out."""

from collections import Counter
from collections.abc import Sequence

from observability.logs import get_logger
from observability.metrics import Metrics, RunOutcome, Sli
from observability.tracing import trace_id_of
from storage.leases import FreedRun

_log = get_logger(__name__)


def tell_of_deaths(freed: Sequence[FreedRun], metrics: Metrics) -> None:
    """Count the tries that were lost, and name the runs that are under suspicion from now on."""
    for (pipeline, outcome), runs in Counter((run.pipeline, _outcome(run)) for run in freed).items():
        metrics.runs.labels(pipeline=pipeline, outcome=outcome).inc(runs)
        if outcome is RunOutcome.FAILED:
            metrics.slo_events.labels(sli=Sli.EXECUTION, pipeline=pipeline, good=False).inc(runs)
    for run in freed:
        if run.poisoned:
            _log.error("run is poisoned: it has killed its process alone in the cell", **_named(run))
        elif run.isolated:
            _log.warning("run goes to the cell: its processes keep dying", **_named(run))


def _outcome(run: FreedRun) -> RunOutcome:
    if run.cancelled:
        return RunOutcome.CANCELLED
    return RunOutcome.FAILED if run.poisoned else RunOutcome.RESCUED


def _named(run: FreedRun) -> dict[str, object]:
    return {
        "tenant": run.tenant,
        "event_id": str(run.event_id),
        "run_id": str(run.run_id),
        "pipeline": run.pipeline,
        "attempt": run.attempt,
        "deaths": run.deaths,
        "trace_id": trace_id_of(run.traceparent),
    }
