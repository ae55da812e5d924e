"""Makes one activity record of every GitHub event: who did what, where and when, in a form that is always the same."""

from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel

from pipelines import EventSchema, Node, Pipeline, TaskContext


class Account(EventSchema):
    """Who did it, or whose it is."""

    login: str


class Repository(EventSchema):
    """Where it happened."""

    full_name: str
    html_url: str | None = None


class Subject(EventSchema):
    """What it happened to; each kind of subject has some of these."""

    number: int | None = None
    title: str | None = None
    name: str | None = None
    tag_name: str | None = None
    summary: str | None = None
    html_url: str | None = None
    updated_at: datetime | None = None
    submitted_at: datetime | None = None
    published_at: datetime | None = None
    created_at: datetime | None = None


class Commit(EventSchema):
    """The last commit of a push."""

    timestamp: datetime | None = None
    url: str | None = None


class GitHubEvent(EventSchema):
    """A delivery of any GitHub event. All is optional: some have no repository, some no sender, some no action.

    The most telling subjects stand first.
    """

    action: str | None = None
    sender: Account | None = None
    organization: Account | None = None
    repository: Repository | None = None
    ref: str | None = None
    ref_type: str | None = None
    updated_at: datetime | None = None
    compare: str | None = None
    head_commit: Commit | None = None
    comment: Subject | None = None
    review: Subject | None = None
    issue: Subject | None = None
    pull_request: Subject | None = None
    discussion: Subject | None = None
    release: Subject | None = None
    deployment_status: Subject | None = None
    deployment: Subject | None = None
    check_run: Subject | None = None
    check_suite: Subject | None = None
    workflow_job: Subject | None = None
    security_advisory: Subject | None = None
    alert: Subject | None = None
    milestone: Subject | None = None
    label: Subject | None = None
    team: Subject | None = None
    package: Subject | None = None
    registry_package: Subject | None = None
    project_card: Subject | None = None
    project_column: Subject | None = None
    project: Subject | None = None
    projects_v2_item: Subject | None = None
    sponsorship: Subject | None = None
    forkee: Subject | None = None


SUBJECTS: Final = tuple(name for name, field in GitHubEvent.model_fields.items() if field.annotation == Subject | None)
"""Where an event tells what it is about; the most telling first."""

PHRASES: Final = {
    "create": "created",
    "delete": "deleted",
    "fork": "forked into",
    "gollum": "edited the wiki",
    "page_build": "built the pages",
    "ping": "pinged",
    "public": "made the repository public",
    "push": "pushed",
    "repository_import": "imported the repository",
    "status": "reported a status",
    "team_add": "added the team",
    "workflow_dispatch": "dispatched a workflow for",
}
"""What was done, for events that have no action of their own."""

LONGEST_NAME: Final = 120


class About(BaseModel):
    """What an event is about: the thing's kind, name, page and time."""

    kind: str
    number: int | None
    name: str | None
    url: str | None
    occurred_at: datetime


class Activity(BaseModel):
    """One normalised activity."""

    kind: str
    action: str
    actor: str
    repository: str | None
    organization: str | None
    summary: str
    url: str | None
    occurred_at: datetime


class FindSubject(Node[About]):
    """Finds what an event is about, in whichever field GitHub has put it."""

    async def run(self, ctx: TaskContext[GitHubEvent]) -> About:
        """Look at the most telling subject first; a page or a time may come from a later one."""
        data = ctx.data
        subjects = [subject for field in SUBJECTS if (subject := getattr(data, field)) is not None]
        pages = [subject.html_url for subject in subjects]
        if data.head_commit:
            pages.append(data.head_commit.url)
        pages += [data.compare, data.repository.html_url if data.repository else None]
        return About(
            kind=ctx.event.type.removeprefix("github."),
            number=next((subject.number for subject in subjects if subject.number is not None), None),
            name=next((name for subject in subjects if (name := name_of(subject))), data.ref),
            url=next((page for page in pages if page), None),
            occurred_at=occurred_at(data, subjects) or as_utc(ctx.event.time or ctx.event.received_at),
        )


class DescribeActivity(Node[Activity]):
    """Writes the record."""

    async def run(self, ctx: TaskContext[GitHubEvent]) -> Activity:
        """Put who, what and where into one line and into fields."""
        data, about = ctx.data, ctx.output(FindSubject)
        done = f"{data.action} {about.kind}" if data.action else PHRASES.get(about.kind, about.kind)
        actor = data.sender.login if data.sender else "github"
        repository = data.repository.full_name if data.repository else None
        organization = data.organization.login if data.organization else None
        number = f"#{about.number}" if about.number is not None else None
        name = f'"{about.name[:LONGEST_NAME]}"' if about.name else None
        place = f"in {repository or organization}" if repository or organization else None
        words = (actor, done.replace("_", " "), data.ref_type, number, name, place)
        return Activity(
            kind=about.kind,
            action=data.action or about.kind,
            actor=actor,
            repository=repository,
            organization=organization,
            summary=" ".join(word for word in words if word),
            url=about.url,
            occurred_at=about.occurred_at,
        )


def name_of(subject: Subject) -> str | None:
    """Return what a person would call it."""
    return subject.title or subject.name or subject.tag_name or subject.summary


def occurred_at(data: GitHubEvent, subjects: list[Subject]) -> datetime | None:
    """Return the latest thing that the event itself says of its time."""
    times = [data.updated_at, data.head_commit.timestamp if data.head_commit else None]
    for subject in subjects:
        times += [subject.updated_at, subject.submitted_at, subject.published_at, subject.created_at]
    return max((as_utc(time) for time in times if time), default=None)


def as_utc(time: datetime) -> datetime:
    """Return ``time`` in UTC, which is also what one without a zone is taken for."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


pipeline = Pipeline(
    name="repository_activity",
    version=1,
    types=("github.*",),
    schema=GitHubEvent,
    start=FindSubject,
    edges={FindSubject: DescribeActivity},
    timeout=60.0,
)
