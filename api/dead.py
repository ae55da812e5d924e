"""What requests about many dead runs have in common, and their removal."""

from typing import Final
from uuid import UUID

from api.run_schemas import BulkPurge, BulkPurged, BulkReplay
from api.services import Services
from observability.logs import get_logger
from storage import purging
from storage.dead import DeadFilter
from storage.replays import sample_dead

BATCH: Final = 200
"""Dead runs, or events with some, that are dealt with in one transaction, at most."""
SAMPLE: Final = 20
"""Ids in an answer, at most."""

_log = get_logger(__name__)


def matching_of(wanted: BulkReplay | BulkPurge, *, pipelines: tuple[str, ...] | None) -> DeadFilter:
    """Return the filter of a request, for runs of these pipelines."""
    return DeadFilter(
        pipelines=pipelines,
        type=wanted.type,
        failure_kind=wanted.failure_kind,
        after=wanted.after,
        before=wanted.before,
    )


class Purger:
    """Removes dead runs of one tenant, of whatever pipeline: also of those that this release has no more."""

    def __init__(self, services: Services, *, tenant: str) -> None:
        self._services = services
        self._tenant = tenant

    async def dead(self, wanted: BulkPurge) -> BulkPurged:
        """Remove dead runs with their events in batches, each committed by itself, or say what would be removed."""
        matching = matching_of(wanted, pipelines=None if wanted.pipeline is None else (wanted.pipeline,))
        async with self._services.reading() as connection:
            found = await purging.count_purgeable(connection, tenant=self._tenant, matching=matching)
            most = min(SAMPLE, wanted.limit)
            sample = await sample_dead(connection, tenant=self._tenant, matching=matching, most=most)
        if wanted.dry_run:
            ids = [run.run_id for run in sample]
            return BulkPurged(
                dry_run=True, matching=found.matching, purged=0, kept=found.kept, events=0, runs=0, sample=ids
            )
        return await self._purge(matching, limit=wanted.limit, count=found.matching)

    async def _purge(self, matching: DeadFilter, *, limit: int, count: int) -> BulkPurged:
        purged: list[UUID] = []
        kept = events = runs = 0
        place: UUID | None = purging.START
        while place is not None and len(purged) < limit:
            most = min(BATCH, limit - len(purged))
            async with self._services.changing(many=True) as connection:
                batch = await purging.purge_dead(
                    connection, tenant=self._tenant, matching=matching, most=most, place=place
                )
            purged += batch.dead
            kept, events, runs, place = kept + batch.kept, events + batch.events, runs + batch.runs, batch.place
        _log.warning(
            "dead runs were purged", tenant=self._tenant, dead=len(purged), events=events, runs=runs, kept=kept
        )
        return BulkPurged(
            dry_run=False,
            matching=count,
            purged=len(purged),
            kept=kept,
            events=events,
            runs=runs,
            sample=purged[:SAMPLE],
        )
