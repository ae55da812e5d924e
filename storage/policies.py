"""What a run was made with beside its pipeline: its limits, priority, time to begin, and uniqueness."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from events import LimitKey

_HIGHEST: Final = 9


class RunPolicy(NamedTuple):
    """What a pipeline declares, for one event. ``ttl`` counts from when the run is made."""

    limits: tuple[LimitKey, ...] = ()
    priority: int = 0
    ttl: float | None = None
    unique_key: str | None = None


NO_POLICY: Final = RunPolicy()

UNPUBLISHED: Final = "'infinity'::timestamptz"
"""The ``publish_at`` of a run that waits for permits, or to be seen to be the only one of its key."""


COLUMNS: Final = "priority, expires_at, unique_key, limits, lane, publish_at"
"""What an insert of runs sets beside the rest, by ``VALUES``."""

NAMES: Final = "priority, ttl, unique_key, limits, lane"
"""The columns that ``policy_columns`` makes, in that order."""

VALUES: Final = f"""
    {{run}}.priority, now() + make_interval(secs => {{run}}.ttl), {{run}}.unique_key, {{run}}.limits::jsonb,
    {{run}}.lane,
    CASE WHEN {{run}}.lane IS NULL AND {{run}}.unique_key IS NULL THEN now() ELSE {UNPUBLISHED} END
"""


def policy_columns(policies: Iterable[tuple[str, RunPolicy | None]]) -> tuple[list[Any], ...]:
    """Return, for policies with their tenants, the columns called ``NAMES``."""
    given = [(tenant, policy or NO_POLICY) for tenant, policy in policies]
    limits = [limits_json(policy.limits) for _, policy in given]
    return (
        [policy.priority for _, policy in given],
        [policy.ttl for _, policy in given],
        [policy.unique_key for _, policy in given],
        limits,
        [lane_of(tenant, text, priority=policy.priority) for (tenant, policy), text in zip(given, limits, strict=True)],
    )


def limits_json(limits: Sequence[LimitKey]) -> str | None:
    """Write limits as ``runs.limits`` has them, the same ones always the same way; None for none."""
    if not limits:
        return None
    ordered = sorted(limits, key=lambda limit: (limit.name, limit.key))
    return json.dumps([{field: getattr(limit, field) for field in LimitKey.__slots__} for limit in ordered])


def limits_of(stored: Any) -> tuple[LimitKey, ...]:
    """Read ``runs.limits``."""
    return tuple(LimitKey(**limit) for limit in stored or ())


def lane_of(tenant: str, limits: str | None, *, priority: int) -> str | None:
    """Name the lane of a run by its limits as ``limits_json`` writes them; None where it has none.

    Lanes of a higher priority come first in their order.
    """
    return None if limits is None else f"{_HIGHEST - priority}{lane_digest(tenant, limits)}"


def lane_digest(tenant: str, limits: str) -> str:
    """Return what follows the priority in a lane's name: short, however long the keys are."""
    return hashlib.blake2b(f"{tenant}\0{limits}".encode(), digest_size=16).hexdigest()
