"""The limits that tries come to wait for: the part of a finish that is there only where one does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text, TypeEngine, Uuid

from events import LimitKey
from storage.policies import lane_digest, limits_json


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitParts:
    """What a finish has of limits: a CTE before the others, what it sets, and the lane that a run then has."""

    also: str
    sets: str
    lane: str


NO_LIMITS: Final = LimitParts(also="", sets="", lane="r.lane")

# A run has them from the moment on that it waits for them.
NEW_LIMITS: Final = LimitParts(
    also="""asking AS (
        SELECT * FROM unnest(:l_run_ids, :l_limits, :l_lanes) AS a(asking, limits, lane)
    ),""",
    sets="""
            limits = coalesce((SELECT a.limits::jsonb FROM asking a WHERE asking = r.run_id), r.limits),
            lane = coalesce((SELECT 9 - r.priority || a.lane FROM asking a WHERE asking = r.run_id), r.lane),""",
    lane="coalesce((SELECT a.lane FROM asking a WHERE asking = r.run_id), r.lane)",
)

LIMIT_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "l_run_ids": ARRAY(Uuid),
    "l_limits": ARRAY(Text),
    "l_lanes": ARRAY(Text),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsWrite:
    """The limits that a run of ``tenant`` waits for from now on, those that it had included."""

    tenant: str
    run_id: UUID
    limits: tuple[LimitKey, ...]


def limit_columns(writes: Sequence[LimitsWrite]) -> dict[str, list[Any]]:
    """Return the parameters of ``NEW_LIMITS``."""
    texts = [limits_json(write.limits) or "[]" for write in writes]
    return {
        "l_run_ids": [write.run_id for write in writes],
        "l_limits": texts,
        "l_lanes": [lane_digest(write.tenant, text) for write, text in zip(writes, texts, strict=True)],
    }
