"""Triages GitHub issues by rules that can be read: answer a question, label a topic, escalate what can't wait."""

import re
from enum import StrEnum
from functools import cache
from typing import Final

from pydantic import BaseModel

from pipelines import EventSchema, Node, Pipeline, Route, RouterNode, TaskContext


class Account(EventSchema):
    """A GitHub user, organisation or app."""

    login: str


class Label(EventSchema):
    """A label on an issue."""

    name: str


class Issue(EventSchema):
    """The issue as the delivery shows it; a short form of it lacks ``labels``."""

    number: int
    title: str
    body: str | None = None
    html_url: str
    user: Account | None = None
    labels: tuple[Label, ...] = ()


class Repository(EventSchema):
    """Where the issue is."""

    full_name: str


class IssueEvent(EventSchema):
    """A delivery of GitHub's ``issues`` event, whatever its action."""

    action: str
    issue: Issue
    repository: Repository


class NormalisedIssue(BaseModel):
    """What the rules look at."""

    repository: str
    number: int
    url: str
    author: str
    text: str
    labels: list[str]
    to_triage: bool


class Category(StrEnum):
    """What an issue is about; ``none`` needs nothing done."""

    SECURITY = "security"
    BUG = "bug"
    QUESTION = "question"
    DOCUMENTATION = "documentation"
    FEATURE = "feature"
    OTHER = "other"
    NONE = "none"


class Classification(BaseModel):
    """The category, whether it can wait, and the word that decided."""

    category: Category
    urgent: bool
    reason: str


class Reply(BaseModel):
    """A proposed answer to the author."""

    to: str
    text: str


class Labels(BaseModel):
    """Labels that the issue should get."""

    add: list[str]


class Escalation(BaseModel):
    """A notice for people who must look at once."""

    team: str
    url: str
    reason: str


TRIAGED_ACTIONS: Final = frozenset({"opened", "edited", "reopened"})
"""The others (deleted, transferred, locked, labeled, …) change nothing about what an issue says."""

RULES: Final[tuple[tuple[Category, tuple[str, ...]], ...]] = (
    (Category.SECURITY, ("security", "vulnerability", "exploit", "cve", "xss", "injection", "leaked", "credentials")),
    (Category.QUESTION, ("how do i", "how can i", "how to", "is it possible", "question", "what is")),
    (Category.DOCUMENTATION, ("typo", "spelling", "readme", "docs", "documentation")),
    (Category.BUG, ("bug", "error", "crash", "crashes", "broken", "fails", "exception", "traceback", "regression")),
    (Category.FEATURE, ("feature", "add support", "would be nice", "enhancement", "proposal")),
)
"""The first category one of whose words stands in the text."""

URGENT_WORDS: Final = ("outage", "data loss", "production is down", "urgent", "leaked")
ON_CALL: Final = {Category.SECURITY: "security"}


class Normalise(Node[NormalisedIssue]):
    """Brings a delivery into the form that the rules look at."""

    async def run(self, ctx: TaskContext[IssueEvent]) -> NormalisedIssue:
        """Join title and body, and tell whether the action calls for triage."""
        issue = ctx.data.issue
        return NormalisedIssue(
            repository=ctx.data.repository.full_name,
            number=issue.number,
            url=issue.html_url,
            author=issue.user.login if issue.user else "ghost",
            text=f"{issue.title}\n{issue.body or ''}".strip(),
            labels=[label.name for label in issue.labels],
            to_triage=ctx.data.action in TRIAGED_ACTIONS,
        )


class Classify(Node[Classification]):
    """Finds the category by ``RULES`` and the urgency by ``URGENT_WORDS``."""

    async def run(self, ctx: TaskContext[IssueEvent]) -> Classification:
        """Let the first rule that fits decide."""
        issue = ctx.output(Normalise)
        if not issue.to_triage:
            return Classification(category=Category.NONE, urgent=False, reason=f"nothing to do when {ctx.data.action}")
        alarm = first_word(issue.text, URGENT_WORDS)
        for category, words in RULES:
            if word := first_word(issue.text, words):
                urgent = category in ON_CALL or alarm is not None
                return Classification(category=category, urgent=urgent, reason=f"says {alarm or word!r}")
        reason = f"says {alarm!r}" if alarm else "no rule fits"
        return Classification(category=Category.OTHER, urgent=alarm is not None, reason=reason)


def first_word(text: str, words: tuple[str, ...]) -> str | None:
    """Return what of ``words`` stands first in ``text``, as a word of its own and whatever its case."""
    found = _any_of(words).search(text)
    return found[0].lower() if found else None


@cache
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(map(re.escape, words))})\b", re.IGNORECASE)


class Answer(Node[Reply]):
    """Drafts an answer to a question."""

    async def run(self, ctx: TaskContext[IssueEvent]) -> Reply:
        """Point the author to where questions are answered."""
        issue = ctx.output(Normalise)
        return Reply(
            to=issue.author,
            text=f"Thank you, @{issue.author}. Questions about {issue.repository} are answered in its discussions; "
            f"#{issue.number} stays open until yours is.",
        )


class LabelIssue(Node[Labels]):
    """Proposes the label of the category, unless the issue has it."""

    async def run(self, ctx: TaskContext[IssueEvent]) -> Labels:
        """Compare with the labels that are there."""
        wanted = ctx.output(Classify).category.value
        return Labels(add=[] if wanted in ctx.output(Normalise).labels else [wanted])


class Escalate(Node[Escalation]):
    """Says who must look at once, and why."""

    async def run(self, ctx: TaskContext[IssueEvent]) -> Escalation:
        """Choose the team by the category."""
        found = ctx.output(Classify)
        return Escalation(
            team=ON_CALL.get(found.category, "on-call"), url=ctx.output(Normalise).url, reason=found.reason
        )


def is_urgent(ctx: TaskContext[IssueEvent]) -> bool:
    """Say whether it can't wait."""
    return ctx.output(Classify).urgent


def is_question(ctx: TaskContext[IssueEvent]) -> bool:
    """Say whether somebody asks something."""
    return ctx.output(Classify).category is Category.QUESTION


def has_topic(ctx: TaskContext[IssueEvent]) -> bool:
    """Say whether there is anything to do at all."""
    return ctx.output(Classify).category is not Category.NONE


class RouteIssue(RouterNode):
    """Escalates what can't wait, answers questions, labels the rest; actions that need no triage end here."""

    routes = (
        Route(to=Escalate, when=is_urgent),
        Route(to=Answer, when=is_question),
        Route(to=LabelIssue, when=has_topic),
    )
    fallback = None


pipeline = Pipeline(
    name="issue_triage",
    version=1,
    types=("github.issues",),
    schema=IssueEvent,
    start=Normalise,
    edges={Normalise: Classify, Classify: RouteIssue},
    timeout=60.0,
)
