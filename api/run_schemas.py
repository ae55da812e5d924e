"""What the endpoints for runs take and answer, as OpenAPI shows it."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from api.incoming import LONGEST_TYPE, attribute_error
from api.rfc3339 import parse_time
from api.schemas import PageLinks, Run, RunLinks
from events import FailureKind, QueueReason, RunStatus

_LONGEST_TEXT = 500


def _plain(value: str) -> str:
    message = attribute_error(value, _LONGEST_TEXT)
    if message:
        raise ValueError(message)
    return value


Text = Annotated[str, AfterValidator(_plain)]
Time = Annotated[datetime, BeforeValidator(parse_time)]


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CancelOptions(_Options):
    """The body of a cancel; may be left out."""

    reason: Text | None = Field(default=None, description="Why; kept with the run.", examples=["sent twice"])


class ReplayOptions(_Options):
    """The body of a run's replay; may be left out."""

    from_: Text | None = Field(
        default=None,
        alias="from",
        description="The node to begin at: it and what follows run again, what led to it is taken over.",
        examples=["classify"],
    )


class _DeadOptions(_Options):
    pipeline: Text | None = Field(default=None, examples=["issue_triage"])
    type: Text | None = Field(default=None, max_length=LONGEST_TYPE, description="Exact event type.")
    failure_kind: FailureKind | None = None
    after: Time | None = Field(default=None, description="Failed at or after; RFC 3339 with a zone.")
    before: Time | None = Field(default=None, description="Failed before; RFC 3339 with a zone.")
    limit: int = Field(default=1000, ge=1, le=10_000, strict=True, description="Runs, at most; the oldest first.")


class BulkReplay(_DeadOptions):
    """Which dead runs (failed, and not replayed yet) to replay. What is left out does not filter.

    ``dry_run`` can't be left out, so that nobody replays everything by an empty body.
    """

    dry_run: bool = Field(strict=True, description="Say what would be replayed, and change nothing.")


class BulkPurge(_DeadOptions):
    """Which dead runs (failed, and not replayed yet) to remove with their events. What is left out does not filter.

    ``dry_run`` can't be left out, so that nobody removes everything by an empty body.
    """

    dry_run: bool = Field(strict=True, description="Say what would be removed, and change nothing.")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CancelledRun(_Answer):
    """``cancelled``: it has ended. ``running``: its worker was asked and ends it at its next await or node edge."""

    run_id: UUID
    status: Literal[RunStatus.CANCELLED, RunStatus.RUNNING]
    links: RunLinks


class ReplayedRun(_Answer):
    """A run that was made; ``replay_of`` is the one it stands in for, None where the pipeline had none."""

    run_id: UUID
    event_id: UUID
    pipeline: str
    replay_of: UUID | None
    trace_id: str | None
    links: RunLinks


class ReplayedEvent(_Answer):
    """The runs that were made for an event."""

    event_id: UUID
    runs: list[ReplayedRun]


class BulkReplayed(_Answer):
    """``matching``: dead runs before the request. ``replayed``: runs that were made, none in a dry run.

    ``left_out``: further ones that match, by pipeline, of pipelines that the API has not loaded. ``sample`` are
    ids of the dead runs that were, or would be, replayed: the first of them.
    """

    dry_run: bool
    matching: int
    replayed: int
    left_out: dict[str, int]
    sample: list[UUID]


class BulkPurged(_Answer):
    """``matching``: dead runs before the request. ``purged``: those that were removed, none in a dry run.

    ``kept``: those that stay, or would, because another run of their event is open, dead and not meant, or in use.
    ``events`` and ``runs`` are all that went, with the runs of those events that had ended otherwise. ``sample`` are
    ids of the dead runs that were removed, or that match: the first of them.
    """

    dry_run: bool
    matching: int
    purged: int
    kept: int
    events: int
    runs: int
    sample: list[UUID]


class RunItem(_Answer):
    """A run in a list; ``error`` is the last one, without its traceback."""

    run_id: UUID
    event_id: UUID
    type: str
    pipeline: str
    pipeline_version: int
    queue: str
    status: RunStatus
    reason: QueueReason | None
    attempt: int
    failure_kind: FailureKind | None
    error: dict[str, Any] | None
    created_at: datetime
    finished_at: datetime | None
    replay_of: UUID | None
    links: RunLinks


class RunPage(_Answer):
    """A page of runs, newest first."""

    items: list[RunItem]
    next_cursor: str | None
    links: PageLinks


class RunDetail(Run):
    """A run with its whole story; ``replayed_by`` is the run that stands in for it now."""

    event_id: UUID
    type: str
    replayed_by: UUID | None


def run_links(run_id: UUID, event_id: UUID) -> RunLinks:
    """Return where a run and its event are."""
    return RunLinks(self=f"/runs/{run_id}", event=f"/events/{event_id}")
