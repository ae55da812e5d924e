from collections.abc import Iterator
from typing import Any

import redis

from settings import Settings
from settings.reference import mask_url
from throughline.doctor.finding import Finding, Verdict

_PATCHED = ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2))
"""First release of each line without CVE-2025-49844 (Lua, remote code by whoever may log in)."""


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Look at Redis: reachable, patched, never evicting, with its commands allowed."""
    url = settings.redis.url.get_secret_value()
    try:
        client = redis.Redis.from_url(
            url, socket_timeout=settings.redis.socket_timeout, socket_connect_timeout=settings.redis.connect_timeout
        )
    except ValueError:  # its text quotes what stands where a port should
        mend = "mend THROUGHLINE_REDIS_URL: redis://[user]:password@host:port/0, with what is odd in a password as %XX"
        yield Finding(subject="redis", verdict=Verdict.BAD, said=f"{mask_url(url)} is no address", mend=mend)
        return
    try:
        info: dict[str, Any] = client.info()
    except redis.RedisError as error:
        said = f"{mask_url(url)}: {str(error).splitlines()[0]}"
        mend = "start it, or mend THROUGHLINE_REDIS_URL; events are accepted meanwhile, and wait"
        yield Finding(subject="redis", verdict=Verdict.BAD, said=said, mend=mend)
        return
    finally:
        client.close()
    yield _version(info)
    yield _policy(info)
    yield _persistence(info)


def _version(info: dict[str, Any]) -> Finding:
    text = str(info.get("redis_version", "0"))
    version = tuple(int(part) for part in text.split(".")[:3] if part.isdigit())
    patched = next((first for first in _PATCHED if first[:2] == version[:2]), None)
    if (patched is not None and version < patched) or version < min(_PATCHED):
        mend = "for more than loopback use 6.2.20, 7.2.11, 7.4.6, 8.2.2 or newer (CVE-2025-49844)"
        return Finding(subject="redis version", verdict=Verdict.WARNING, said=text, mend=mend)
    return Finding(subject="redis version", verdict=Verdict.GOOD, said=text)


def _policy(info: dict[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy not in {"noeviction", "unknown"}:
        mend = "set maxmemory-policy noeviction, and share this Redis with no cache"
        return Finding(subject="redis eviction", verdict=Verdict.BAD, said=policy, mend=mend)
    return Finding(subject="redis eviction", verdict=Verdict.GOOD, said=policy)


def _persistence(info: dict[str, Any]) -> Finding:
    on = bool(info.get("aof_enabled"))
    mend = "" if on else "appendonly yes spares a republish after a restart; nothing is lost without it"
    verdict = Verdict.GOOD if on else Verdict.WARNING
    return Finding(subject="redis append-only file", verdict=verdict, said="on" if on else "off", mend=mend)
