"""The making of runs that repeat others: their ids, their traces, their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from opentelemetry.trace import get_current_span

from api.policies import has_policy, policy_of
from api.run_schemas import ReplayedRun, run_links
from events import new_id
from observability.logs import get_logger
from observability.tracing import LinkReason, add_link, replay_span, trace_id_of, traceparent_of
from pipelines import Pipeline
from pipelines.paths import Attributes
from storage.bounded import Connection
from storage.policies import RunPolicy
from storage.replays import From, NewRoute, Replay, events_attributes, replay_runs, route_again

_MOST_LINKS = 100

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is repeated: a run or, without ``run_id``, an event for a pipeline that has no run of it.

    ``traceparent`` is of its trace.
    """

    run_id: UUID | None
    event_id: UUID
    pipeline: Pipeline[Any]
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    origin: Origin
    run_id: UUID
    traceparent: str | None
    policy: RunPolicy | None


async def make_runs(
    connection: Connection, origins: Sequence[Origin], *, tenant: str, begin: From | None = None
) -> list[ReplayedRun]:
    """Make a run in the place of each origin; those that can't be repeated any more are left out.

    Each begins a trace that is linked to its origin's, and that the request's span is linked to.
    """
    policies = await _policies(connection, origins, tenant=tenant)
    planned = [_plan(origin, tenant, policy) for origin, policy in zip(origins, policies, strict=True)]
    for item in planned[:_MOST_LINKS]:
        add_link(get_current_span(), item.traceparent, reason=LinkReason.RUN)
    made = await _replay(connection, planned, tenant=tenant, begin=begin)
    for event_id in dict.fromkeys(item.origin.event_id for item in planned):
        routes = [_route(item) for item in planned if item.origin.event_id == event_id and item.origin.run_id is None]
        if routes:
            await route_again(connection, tenant=tenant, event_id=event_id, routes=routes)
    return [_answer(item) for item in planned if item.origin.run_id is None or item.origin.run_id in made]


def tell_of_replays(made: Sequence[ReplayedRun]) -> None:
    """Log what was made, once it is committed."""
    for run in made:
        _log.info(
            "run replayed",
            run_id=str(run.run_id),
            event_id=str(run.event_id),
            pipeline=run.pipeline,
            replay_of=str(run.replay_of) if run.replay_of else None,
        )


async def _policies(connection: Connection, origins: Sequence[Origin], *, tenant: str) -> list[RunPolicy | None]:
    """Make the policies of runs anew: a replay goes by what its pipeline declares now."""
    events = list({origin.event_id for origin in origins if has_policy(origin.pipeline)})
    rows = await events_attributes(connection, tenant=tenant, event_ids=events) if events else []
    found = {row.event_id: Attributes(row.type, row.source, row.subject, row.data) for row in rows}
    return [
        policy_of(origin.pipeline, found[origin.event_id]) if origin.event_id in found else None for origin in origins
    ]


def _plan(origin: Origin, tenant: str, policy: RunPolicy | None) -> _Planned:
    run_id = new_id()
    with replay_span(
        run_id, event_id=origin.event_id, pipeline=origin.pipeline.name, tenant=tenant, origin=origin.traceparent
    ) as span:
        return _Planned(origin=origin, run_id=run_id, traceparent=traceparent_of(span), policy=policy)


async def _replay(
    connection: Connection, planned: Sequence[_Planned], *, tenant: str, begin: From | None
) -> dict[UUID, UUID]:
    asked = [
        Replay(
            origin=item.origin.run_id,
            run_id=item.run_id,
            pipeline_version=item.origin.pipeline.version,
            queue=item.origin.pipeline.queue,
            traceparent=item.traceparent,
            policy=item.policy,
        )
        for item in planned
        if item.origin.run_id is not None
    ]
    return await replay_runs(connection, tenant=tenant, replays=asked, begin=begin) if asked else {}


def _route(item: _Planned) -> NewRoute:
    pipeline = item.origin.pipeline
    return NewRoute(
        run_id=item.run_id,
        pipeline=pipeline.name,
        pipeline_version=pipeline.version,
        queue=pipeline.queue,
        traceparent=item.traceparent,
        policy=item.policy,
    )


def _answer(item: _Planned) -> ReplayedRun:
    return ReplayedRun(
        run_id=item.run_id,
        event_id=item.origin.event_id,
        pipeline=item.origin.pipeline.name,
        replay_of=item.origin.run_id,
        trace_id=trace_id_of(item.traceparent),
        links=run_links(item.run_id, item.origin.event_id),
    )
