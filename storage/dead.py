"""Dead runs: those that failed and that nothing repeats. Which of them a request is about."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import DateTime, Text, TypeEngine

from events import FailureKind

IS_DEAD: Final = """
    {r}.status = 'failed' AND NOT EXISTS (
        SELECT FROM runs n WHERE n.tenant = {r}.tenant AND n.event_id = {r}.event_id AND n.replay_of = {r}.run_id
    )
"""
"""That run ``{r}`` is dead."""

MATCHES: Final = """
    (:pipelines IS NULL OR {r}.pipeline = ANY(:pipelines))
    AND (:kind IS NULL OR {r}.failure_kind = :kind)
    AND (:after IS NULL OR {r}.finished_at >= :after)
    AND (:before IS NULL OR {r}.finished_at < :before)
"""
"""That a filter, but for the event's type, lets run ``{r}`` through."""

DEAD: Final = f"""
    SELECT r.run_id, r.event_id, r.pipeline, coalesce(r.traceparent, e.traceparent) AS traceparent
    FROM runs r JOIN events e ON e.tenant = r.tenant AND e.event_id = r.event_id
    WHERE r.tenant = :tenant AND (:type IS NULL OR e.type = :type)
      AND {MATCHES.format(r="r")} AND {IS_DEAD.format(r="r")}
"""  # noqa: S608 - this module's own text

FILTER_TYPES: Final[dict[str, TypeEngine[Any]]] = {
    "tenant": Text(),
    "pipelines": ARRAY(Text),
    "type": Text(),
    "kind": Text(),
    "after": DateTime(timezone=True),
    "before": DateTime(timezone=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead runs; None does not filter. ``after`` and ``before`` bound the time they failed, half-open."""

    pipelines: tuple[str, ...] | None = None
    type: str | None = None
    failure_kind: FailureKind | None = None
    after: datetime | None = None
    before: datetime | None = None


def filter_values(tenant: str, matching: DeadFilter) -> dict[str, object]:
    """Return the parameters of ``DEAD``."""
    return {
        "tenant": tenant,
        "pipelines": None if matching.pipelines is None else list(matching.pipelines),
        "type": matching.type,
        "kind": matching.failure_kind.value if matching.failure_kind else None,
        "after": matching.after,
        "before": matching.before,
    }
