from dataclasses import dataclass, replace
from typing import Any, Final

from events import ErrorInfo, Failed, FailureKind
from observability.logs import get_logger
from observability.metrics import Metrics, VersionOutcome
from pipelines import Pipeline, PipelineRegistry
from pipelines.versions import Course, Resolution, explain, resolve
from storage.versions import Move
from worker.held import Claimed
from worker.writes import Writes

_MOVES: Final = frozenset({Course.RESUMED, Course.RESTARTED})

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The pipeline that a claimed run goes on in, and the run as it stands then.

    ``failed``: it can't go on. ``deferred``: this code is too old for it.
    """

    pipeline: Pipeline[Any]
    claimed: Claimed
    failed: Failed | None = None
    deferred: bool = False


class Versions:
    """Settles in which version of its pipeline a claimed run goes on, and moves it there."""

    def __init__(self, registry: PipelineRegistry, writes: Writes, metrics: Metrics) -> None:
        self._registry = registry
        self._writes = writes
        self._metrics = metrics

    async def settle(self, claimed: Claimed, newest: Pipeline[Any]) -> Settled:
        """Return what the run goes on in; costs nothing where that is the version it has.

        Raises:
            StaleAttempt: the run is no longer this attempt's.

        """
        run = claimed.run
        if run.pipeline_version == newest.version and not claimed.done:
            return Settled(pipeline=newest, claimed=claimed)
        versions = self._registry.versions(newest.name) or (newest,)
        found = resolve(versions, version=run.pipeline_version, done=claimed.done)
        if found.course is Course.KEPT:
            return Settled(pipeline=found.pipeline, claimed=claimed)
        if found.course in _MOVES:
            claimed = await self._move(claimed, found)
        self._tell(claimed, found)
        return Settled(
            pipeline=found.pipeline,
            claimed=claimed,
            failed=_failed(explain(found, versions, version=run.pipeline_version)) if _fails(found) else None,
            deferred=found.course is Course.DEFERRED,
        )

    async def _move(self, claimed: Claimed, found: Resolution) -> Claimed:
        run, forget = claimed.run, found.course is Course.RESTARTED
        move = Move(
            tenant=run.event.tenant,
            run_id=run.run_id,
            attempt=run.attempt,
            version=found.pipeline.version,
            forget=forget,
        )
        await self._writes.move(move)
        return replace(claimed, done={}, waits={}) if forget else claimed

    def _tell(self, claimed: Claimed, found: Resolution) -> None:
        told: dict[str, object] = {"version": claimed.run.pipeline_version, "known": found.pipeline.version}
        if found.reason:
            told["reason"] = found.reason
        outcome = VersionOutcome(found.course.value)
        self._metrics.version_changes.labels(pipeline=found.pipeline.name, outcome=outcome).inc()
        tell = _log.info if found.course is Course.RESUMED else _log.warning
        tell("run is of another version of its pipeline", outcome=outcome.value, **told)


def _fails(found: Resolution) -> bool:
    return found.course is Course.INCOMPATIBLE


def _failed(message: str) -> Failed:
    return Failed(kind=FailureKind.INCOMPATIBLE, error=ErrorInfo(type="IncompatibleVersion", message=message))
