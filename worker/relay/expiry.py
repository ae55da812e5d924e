from typing import Final

from observability.logs import get_logger
from observability.metrics import Metrics, RunOutcome, Sli
from observability.tracing import trace_id_of
from storage import expiry
from worker.relay.database import Database

_MOST: Final = 500

_log = get_logger(__name__)


class Expiry:
    """Fails runs that have not begun in the time that their pipeline gives them."""

    def __init__(self, *, database: Database, metrics: Metrics, interval: float) -> None:
        self._database = database
        self._metrics = metrics
        self._interval = interval

    async def run_once(self) -> float:
        """Fail a batch; return in how many seconds to look again.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        async with self._database.transaction() as connection:
            expired = await expiry.expire_runs(connection, most=_MOST)
        for run in expired:
            self._tell(run)
        return 0.0 if len(expired) == _MOST else self._interval

    def _tell(self, run: expiry.ExpiredRun) -> None:
        self._metrics.expired_runs.labels(pipeline=run.pipeline).inc()
        self._metrics.runs.labels(pipeline=run.pipeline, outcome=RunOutcome.FAILED).inc()
        self._metrics.slo_events.labels(sli=Sli.EXECUTION, pipeline=run.pipeline, good=False).inc()
        _log.warning(
            "run expired: it had not begun in time",
            run_id=str(run.run_id),
            event_id=str(run.event_id),
            pipeline=run.pipeline,
            tenant=run.tenant,
            trace_id=trace_id_of(run.traceparent),
        )
