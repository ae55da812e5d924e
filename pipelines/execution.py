from functools import cache

from events import Cancelled, Failed, FailureKind, Outcome, Succeeded, Suspended
from observability.metrics import Metrics, null_metrics
from pipelines.context import TaskContext
from pipelines.error_info import error_info
from pipelines.journal import Journal
from pipelines.observing import Observer
from pipelines.pipeline import Pipeline
from pipelines.results import Broke, Stopped
from pipelines.schema import SchemaT
from pipelines.walk import Walk


async def execute(
    pipeline: Pipeline[SchemaT], context: TaskContext[SchemaT], journal: Journal, *, metrics: Metrics | None = None
) -> Outcome:
    """Run what is left of a pipeline and say how it ended. Errors of the user's code are outcomes, never raised.

    A node that is done already is not called again. Results are recorded as they come, those of nodes with effects
    durably before the next node starts; ways that a router did not take are recorded as skipped. If ``context.cancel``
    was called, the run ends before its next node.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the node under way was, too.
        BaseException: whatever the journal raised.

    """
    try:
        _ = context.data
    except Exception as error:  # noqa: BLE001 - a schema's own validators may raise anything
        return Failed(kind=FailureKind.INVALID_EVENT, error=error_info(error))
    observer = Observer(
        journal,
        metrics or _unread_metrics(),
        run_id=str(context.run_id),
        is_final=lambda broke: pipeline.judge.is_final(broke.errors, context.errors_by_node),
    )
    walk = Walk(observer, limits=pipeline.limits)
    match await walk.through(pipeline.steps, pipeline.start.name, context):
        case None:
            return Succeeded()
        case Broke(errors=errors, of=of):
            return pipeline.decide_all(errors, context, of=of)
        case Stopped():
            await walk.skip_rest(pipeline.steps, context)
            return Succeeded()
        case Suspended() | Cancelled() as outcome:
            return outcome


@cache
def _unread_metrics() -> Metrics:
    return null_metrics()
