from typing import Final

from redis.asyncio import Redis

KEY: Final = "throughline:window"
RECOVERY_KEY: Final = "throughline:window:recovery"
_RECOVERY_SECONDS: Final = 5
_BASE: Final = 1 << 20


class Marker:
    """A counter in Redis by which a relay tells that Redis has lost what it was given.

    Each look counts it up, and it must be higher than at the look before. It is not after FLUSHALL, a restart without
    data, or a failover to a replica that had fallen behind. It starts high, so that a low one says that nobody has
    made good the loss yet: the relay that began to may have died over it.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._seen = _BASE
        self._value = 0
        self._in_charge = False

    async def intact(self) -> bool:
        """Say whether everything that was sent is still there, or was taken; False until ``made_good``.

        It writes, so it fails where sending would: Redis gone, wedged, full or read-only. Raises ``RedisError`` or
        ``OSError`` then.
        """
        self._value = int(await self._redis.incr(KEY))
        if self._value <= self._seen:
            return False
        self._seen = self._value
        return True

    async def take_charge(self) -> bool:
        """Say whether making it good is this relay's to do; another may be at it, or have done it this moment.

        Whoever dies over it leaves it to the others after some seconds. Raises as ``intact`` does.
        """
        if not self._in_charge:
            self._in_charge = bool(await self._redis.set(RECOVERY_KEY, 1, nx=True, ex=_RECOVERY_SECONDS))
        return self._in_charge

    async def made_good(self) -> None:
        """Say, to the other relays too, that what was lost is due again. Raises as ``intact`` does."""
        # An increment never lowers what another relay has set at the same time.
        self._seen = int(await self._redis.incrby(KEY, self._seen - self._value + _BASE))
        self._in_charge = False
