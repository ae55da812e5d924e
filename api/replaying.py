"""What may be repeated at an operator's request, and from where on."""

from typing import Any
from uuid import UUID

from api.dead import BATCH, SAMPLE, matching_of
from api.problems import Problem, ProblemType
from api.remaking import Origin, make_runs, tell_of_replays
from api.run_schemas import BulkReplay, BulkReplayed, ReplayedEvent, ReplayedRun
from api.services import Services
from events import FINAL_STATUSES, NodeStatus
from pipelines import NodeRecord, Pipeline
from pipelines.lineage import nodes_before
from pipelines.matching import mismatch
from storage import replays
from storage.bounded import Connection
from storage.dead import DeadFilter
from storage.queries import get_event
from storage.records import EventRecord, NodeResult, RunRecord
from storage.replays import DeadRun, From
from storage.runs import RunStory, get_run


class Replayer:
    """Replays runs and events of one tenant."""

    def __init__(self, services: Services, *, tenant: str) -> None:
        self._services = services
        self._registry = services.registry
        self._tenant = tenant

    async def run(self, run_id: UUID, *, node: str | None) -> ReplayedRun:
        """Replay a run, from ``node`` on where one is given.

        Raises:
            Problem: 404 there is none, 409 it can't be replayed as it stands, 422 it can't begin at the node.

        """
        async with self._services.changing() as connection:
            event_id = (await self._story(connection, run_id)).event_id
            await replays.take_turn(connection, tenant=self._tenant, event_id=event_id)
            story = await self._story(connection, run_id)
            pipeline = self._replayable(story)
            origin = Origin(run_id=run_id, event_id=event_id, pipeline=pipeline, traceparent=story.traceparent)
            begin = _begin(story.run, pipeline, node)
            made = await make_runs(connection, [origin], tenant=self._tenant, begin=begin)
        self._done(made)
        return made[0]

    async def event(self, event_id: UUID) -> ReplayedEvent:
        """Replay an event: a run for each pipeline that takes its type now.

        Raises:
            Problem: 404 there is none, 409 it can't be replayed as it stands.

        """
        async with self._services.changing() as connection:
            await replays.take_turn(connection, tenant=self._tenant, event_id=event_id)
            record = await get_event(connection, tenant=self._tenant, event_id=event_id)
            if record is None:
                raise Problem(ProblemType.EVENT_NOT_FOUND, "No event has this event_id.")
            made = await make_runs(connection, self._origins(record), tenant=self._tenant)
        self._done(made)
        return ReplayedEvent(event_id=event_id, runs=made)

    async def dead(self, wanted: BulkReplay) -> BulkReplayed:
        """Replay dead runs in batches, each committed by itself, or say what would be replayed.

        Runs of pipelines that this process has not loaded are left out, and counted.

        Raises:
            Problem: 422 there is no such pipeline.

        """
        matching = self._matching(wanted)
        every = matching_of(wanted, pipelines=matching.pipelines if wanted.pipeline else None)
        async with self._services.reading() as connection:
            counts = await replays.count_dead(connection, tenant=self._tenant, matching=every)
            most = min(SAMPLE, wanted.limit)
            sample = await replays.sample_dead(connection, tenant=self._tenant, matching=matching, most=most)
        done = [] if wanted.dry_run else await self._replay_dead(matching, limit=wanted.limit)
        ids = [run.run_id for run in sample] if wanted.dry_run else done[:SAMPLE]
        left_out = {name: count for name, count in sorted(counts.items()) if self._registry.get(name) is None}
        return BulkReplayed(
            dry_run=wanted.dry_run,
            matching=sum(counts.values()) - sum(left_out.values()),
            replayed=len(done),
            left_out=left_out,
            sample=ids,
        )

    def _matching(self, wanted: BulkReplay) -> DeadFilter:
        if wanted.pipeline is not None and self._registry.get(wanted.pipeline) is None:
            message = "the API has not loaded this pipeline; name its module in THROUGHLINE_PIPELINES_MODULES"
            raise _invalid("pipeline", message)
        known = tuple(item.name for item in self._registry.pipelines)
        return matching_of(wanted, pipelines=known if wanted.pipeline is None else (wanted.pipeline,))

    async def _replay_dead(self, matching: DeadFilter, *, limit: int) -> list[UUID]:
        done: list[UUID] = []
        while len(done) < limit:
            most = min(BATCH, limit - len(done))
            async with self._services.changing(many=True) as connection:
                dead = await replays.take_dead(connection, tenant=self._tenant, matching=matching, most=most)
                made = await make_runs(connection, [self._origin(run) for run in dead], tenant=self._tenant)
            if not dead:
                break
            self._done(made)
            done += [run.replay_of for run in made if run.replay_of is not None]
        return done

    def _origin(self, run: DeadRun) -> Origin:
        pipeline = self._registry.get(run.pipeline)
        assert pipeline is not None  # noqa: S101 - the filter names known ones alone
        return Origin(run_id=run.run_id, event_id=run.event_id, pipeline=pipeline, traceparent=run.traceparent)

    async def _story(self, connection: Connection, run_id: UUID) -> RunStory:
        story = await get_run(connection, tenant=self._tenant, run_id=run_id)
        if story is None:
            raise Problem(ProblemType.RUN_NOT_FOUND, "No run has this run_id.")
        return story

    def _replayable(self, story: RunStory) -> Pipeline[Any]:
        if story.run.status not in FINAL_STATUSES:
            raise _refused(f"The run is {story.run.status}; cancel it first, or wait for its end.")
        if story.replayed_by is not None:
            raise _refused(
                f"The run was replayed already, as {story.replayed_by}; replay that one.", replayed_by=story.replayed_by
            )
        pipeline = self._registry.get(story.run.pipeline)
        if pipeline is None:
            raise _refused("This release does not have the run's pipeline.")
        return pipeline

    def _origins(self, record: EventRecord) -> list[Origin]:
        replayed = {run.replay_of for run in record.runs}
        standing = {run.pipeline: run for run in record.runs if run.run_id not in replayed}
        if any(run.status not in FINAL_STATUSES for run in standing.values()):
            raise _refused("A run of the event has not ended; cancel it first, or wait for its end.")
        pipelines = self._registry.route(record.event.type)
        if not pipelines:
            raise _refused("No pipeline of this release takes the event's type.")
        return [_origin_of(record, pipeline, standing.get(pipeline.name)) for pipeline in pipelines]

    def _done(self, made: list[ReplayedRun]) -> None:
        tell_of_replays(made)
        self._services.notifier.wake()


def _origin_of(record: EventRecord, pipeline: Pipeline[Any], run: RunRecord | None) -> Origin:
    return Origin(
        run_id=run.run_id if run else None,
        event_id=record.event.event_id,
        pipeline=pipeline,
        traceparent=(run.traceparent if run else None) or record.event.traceparent,
    )


def _begin(run: RunRecord, pipeline: Pipeline[Any], node: str | None) -> From | None:
    if node is None:
        return None
    if node not in pipeline.all_steps:
        raise _invalid("from", f"the pipeline has no such node; it has {', '.join(pipeline.all_steps)}")
    if any(result.node == node and result.status is NodeStatus.SKIPPED for result in run.nodes):
        raise _invalid("from", "the run's way did not lead to this node; begin at the router before it")
    kept = nodes_before(pipeline.steps, node)
    reason = mismatch(pipeline, {(item.node, item.item): _record(item) for item in run.nodes if item.node in kept})
    if reason is not None:
        raise _refused(
            f"What the run, of version {run.pipeline_version}, did before this node does not fit version "
            f"{pipeline.version} of the pipeline: {reason}. Replay the whole run."
        )
    return From(node=node, kept=kept)


def _record(result: NodeResult) -> NodeRecord:
    return NodeRecord(
        node=result.node, item=result.item, status=result.status, output=result.output, started_at=result.started_at
    )


def _refused(detail: str, *, replayed_by: UUID | None = None) -> Problem:
    members = {"replayed_by": str(replayed_by)} if replayed_by else None
    return Problem(ProblemType.NOT_REPLAYABLE, detail, members=members)


def _invalid(field: str, message: str) -> Problem:
    return Problem(ProblemType.INVALID_REQUEST, f"{field}: {message}", errors=[(field, message)])
