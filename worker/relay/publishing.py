import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from events import Transient
from observability.logs import get_logger
from observability.metrics import Metrics
from settings import RelaySettings
from storage import due
from worker.relay.backoff import Backoff
from worker.relay.carried import Carried
from worker.relay.chunking import Outgoing, message_size, split
from worker.relay.database import Database
from worker.relay.ledger import Ledger
from worker.relay.marker import Marker
from worker.relay.publisher import Publisher
from worker.relay.taking import Take, Taking

_MARKER_SECONDS: Final = 1.0
_REFUSED_SECONDS: Final = 30.0
_SOON: Final = 0.02
_FULL_FIRST: Final = 0.02
_FULL_LONGEST: Final = 0.25
_GATHER_SHARE: Final = 4.0
_GATHER_LONGEST: Final = 0.06

_log = get_logger(__name__)


class RedisDown(Transient):
    """Redis takes no messages now."""


class Publishing:
    """Moves what is due from PostgreSQL to Redis, a pass at a time.

    A pass takes due runs, commits, and only then talks to Redis: what dies in between is taken again when the taking's
    lease ends, and sent twice rather than never. What was sent and is claimed by nobody in time is sent again, unless
    its message still waits in Redis. While Redis is down nothing is taken. Runs of the queue ``singly`` get a message
    each. Where runs come faster than they are claimed, a fifth of the time is spent on passes, so that each
    finds several; a run that comes alone is published at once.
    """

    def __init__(
        self,
        settings: RelaySettings,
        *,
        database: Database,
        publisher: Publisher,
        redis: Redis,
        metrics: Metrics,
        singly: str | None = None,
    ) -> None:
        self._settings = settings
        self._database = database
        self._publisher = publisher
        self._marker = Marker(redis)
        self._taking = Taking(settings, database=database, carried=Carried(redis))
        self._metrics = metrics
        self._singly = singly
        self._redis = Backoff(first=0.1, longest=2.0)
        self._full = Backoff(first=_FULL_FIRST, longest=min(_FULL_LONGEST, settings.poll_interval))
        self._ledger = Ledger(age=min(5.0, settings.take_lease / 3))
        self._backlog: set[str] = set()
        self._marker_seen = 0.0
        self._gathering = False

    async def run_once(self) -> float:
        """Do one pass; return in how many seconds the next is worth while, if nobody calls for it earlier.

        Raises:
            DatabaseUnavailable: PostgreSQL is away.

        """
        began = time.monotonic()
        try:
            wait = await self._publish() if await self._nothing_lost() else _SOON
        except RedisDown as error:
            return self._redis_failed(error)
        if lasted := self._redis.succeeded():
            _log.info("Redis takes messages again", seconds=round(lasted, 1))
        self._metrics.relay_last_pass.labels().set(time.time())
        took = time.monotonic() - began
        self._metrics.relay_pass_duration.labels().observe(took)
        if self._gathering:
            await asyncio.sleep(min(_GATHER_LONGEST, took * _GATHER_SHARE))
        return min(wait, self._settings.poll_interval)

    async def keep_sent(self, *, everything: bool = False) -> None:
        """Let runs that were sent some seconds ago and not claimed yet wait longer than the taking's short lease."""
        while ripe := self._ledger.ripe(everything=everything):
            await self._taking.keep(ripe, seconds=self._settings.republish_after)

    async def _nothing_lost(self) -> bool:
        """Say whether what was sent is in Redis, or was made due again; False while another relay is at that.

        Nothing is sent meanwhile: it would be taken for lost with the rest, and sent twice.
        """
        if not self._redis.failing and time.monotonic() - self._marker_seen < _MARKER_SECONDS:
            return True
        try:
            if not await self._marker.intact():
                if not await self._marker.take_charge():
                    return False
                await self._make_good()
        except (RedisError, OSError) as error:
            await self._count_unsent()
            raise RedisDown(f"{type(error).__name__}: {error}") from error
        self._marker_seen = time.monotonic()
        return True

    async def _count_unsent(self) -> None:
        """Count a message for each queue that has some to send: Redis takes none, and is not given them to refuse."""
        async with self._database.reading() as connection:
            for queue in await due.queues_with_work(connection):
                seconds = await due.seconds_to_next(connection, [queue])
                if seconds is not None and seconds <= 0:
                    self._metrics.publish_errors.labels(queue=queue).inc()

    async def _make_good(self) -> None:
        async with self._database.transaction() as connection:
            runs = await due.republish_window(connection)
        if runs:
            _log.warning("Redis has lost data; what was sent and not claimed is looked for", runs=runs)
        await self._marker.made_good()

    async def _publish(self) -> float:
        async with self._database.reading() as connection:
            queues = await due.queues_with_work(connection)
        takes = {queue: await self._publish_queue(queue) for queue in queues}
        self._gathering = any(_shares(take) for take in takes.values())
        self._backlog = {queue for queue, take in takes.items() if take.more}
        if any(take.more and not take.full for take in takes.values()):
            return 0.0
        waits = [await self._seconds_to_next([queue for queue, take in takes.items() if not take.full])]
        if any(take.full for take in takes.values()):
            if any(take.full and take.runs for take in takes.values()):
                self._full.succeeded()
            waits.append(self._full.failed())
        return min(waits)

    async def _publish_queue(self, queue: str) -> Take:
        began = time.monotonic()
        try:
            take = await self._taking.take(queue, backlog=queue in self._backlog)
        except (RedisError, OSError) as error:
            raise RedisDown(f"{type(error).__name__}: {error}") from error
        if take.sent_before == 0:
            self._ledger.forget(queue, before=began)
        elif take.oldest is not None:
            self._ledger.forget_claimed(queue, oldest=take.oldest)
        if take.taken is None or not take.runs:
            return take
        size = message_size(
            len(take.runs) + take.sent_before + (self._settings.take_max if take.more else 0),
            single_below=self._settings.single_below,
            max_runs=1 if queue == self._singly else self._settings.message_max_runs,
        )
        delivery = await self._publisher.send(list(split(take.runs, size=size)))
        self._ledger.add(queue, _part(take.taken, delivery.sent), since=began)
        await self._taking.put_back(_part(take.taken, delivery.refused), seconds=_REFUSED_SECONDS)
        # A wedged Redis may yet do what it was told: those runs are overdue soon, and then looked for.
        await self._taking.keep([_part(take.taken, delivery.unsent)], seconds=random.uniform(0.0, 1.0))  # noqa: S311 - jitter
        if delivery.down is not None:
            raise RedisDown(f"{type(delivery.down).__name__}: {delivery.down}") from delivery.down
        return take

    async def _seconds_to_next(self, queues: Sequence[str]) -> float:
        if not queues:
            return self._settings.poll_interval
        async with self._database.reading() as connection:
            seconds = await due.seconds_to_next(connection, queues)
        # Something due that was not taken is another relay's, or came this moment: not a reason to spin.
        return self._settings.poll_interval if seconds is None else max(_SOON, seconds)

    def _redis_failed(self, error: RedisDown) -> float:
        if not self._redis.failing:
            _log.warning("Redis takes no messages; what is due waits in PostgreSQL", error=str(error))
        return self._redis.failed()


def _shares(take: Take) -> bool:
    """Say whether runs come faster than they are claimed: the next pass had better wait for a few more.

    Not where a pass has left some, be it for the window or for its own size: there is enough for the next.
    """
    return not take.more and bool(take.runs) and (len(take.runs) > 1 or take.sent_before > 0)


def _part(taken: due.Taken, messages: Iterable[Outgoing]) -> due.Taken:
    keys = tuple((run.tenant, run.run_id) for message in messages for run in message.runs)
    return due.Taken(at=taken.at, keys=keys)
