from datetime import UTC, datetime
from typing import Any

import pytest

from events import Event, JsonValue, Succeeded, new_id
from pipelines import MemoryJournal, PipelineRegistry, execute
from pipelines.flows.issue_triage import RULES, first_word, pipeline


def delivery(
    title: str, *, action: str = "opened", body: str | None = None, **issue: JsonValue
) -> dict[str, JsonValue]:
    shown: dict[str, JsonValue] = {
        "number": 7,
        "title": title,
        "body": body,
        "html_url": "https://example.test/acme/shop/issues/7",
        "user": {"login": "ada"},
        "labels": [],
    }
    return {"action": action, "issue": shown | issue, "repository": {"full_name": "acme/shop"}, "unknown": True}


async def triage(data: dict[str, JsonValue]) -> dict[str, Any]:
    event = Event(event_id=new_id(), ce_id="1", type="github.issues", data=data, received_at=datetime.now(UTC))
    assert PipelineRegistry([pipeline]).validate(event.type, data) == ()
    journal = MemoryJournal()
    assert await execute(pipeline, pipeline.context(event), journal) == Succeeded()
    return {record.node: record.output for record in journal.records}


@pytest.mark.parametrize(
    ("title", "category", "last"),
    [
        ("How do I change my password?", "question", "answer"),
        ("Typo in the README", "documentation", "label_issue"),
        ("Crash when the basket is empty", "bug", "label_issue"),
        ("It would be nice to have dark mode", "feature", "label_issue"),
        ("Hello", "other", "label_issue"),
        ("XSS in the search box", "security", "escalate"),
        ("Data loss after an upgrade: error 5", "bug", "escalate"),
        ("Outage", "other", "escalate"),
    ],
)
async def test_an_issue_goes_where_its_words_send_it(title: str, category: str, last: str) -> None:
    outputs = await triage(delivery(title))
    assert outputs["classify"]["category"] == category
    assert outputs["route_issue"] == last
    assert [name for name in ("answer", "label_issue", "escalate") if outputs[name] is not None] == [last]


async def test_the_body_counts_as_much_as_the_title() -> None:
    assert (await triage(delivery("Hm", body="Is it possible to pay in cash")))["route_issue"] == "answer"


async def test_security_is_escalated_to_its_own_team_with_the_word_that_decided() -> None:
    assert (await triage(delivery("A vulnerability")))["escalate"] == {
        "team": "security",
        "url": "https://example.test/acme/shop/issues/7",
        "reason": "says 'vulnerability'",
    }


async def test_an_answer_is_addressed_to_the_author_also_when_that_account_is_gone() -> None:
    assert (await triage(delivery("How to?", body="how to pay")))["answer"]["to"] == "ada"
    assert (await triage(delivery("how to pay", user=None)))["answer"]["to"] == "ghost"


async def test_a_label_that_is_there_is_not_proposed_again() -> None:
    assert (await triage(delivery("A crash")))["label_issue"] == {"add": ["bug"]}
    assert (await triage(delivery("A crash", labels=[{"name": "bug"}])))["label_issue"] == {"add": []}


@pytest.mark.parametrize(
    "action",
    [
        *("deleted", "transferred", "locked", "unlocked", "pinned", "unpinned", "closed", "labeled", "unlabeled"),
        *("assigned", "unassigned", "milestoned", "demilestoned", "an action that GitHub invents later"),
    ],
)
async def test_actions_that_need_no_triage_end_at_the_router(action: str) -> None:
    outputs = await triage(delivery("XSS and an outage", action=action))
    assert outputs["route_issue"] is None
    assert outputs["classify"]["reason"] == f"nothing to do when {action}"


@pytest.mark.parametrize("missing", ["body", "labels", "user"])
async def test_fields_that_some_deliveries_lack_may_be_missing(missing: str) -> None:
    data: Any = delivery("A crash")
    del data["issue"][missing]
    assert (await triage(data))["route_issue"] == "label_issue"


@pytest.mark.parametrize("path", [("action",), ("issue",), ("repository",), ("issue", "number"), ("issue", "title")])
def test_fields_that_the_rules_need_are_named_when_they_are_missing(path: tuple[str, ...]) -> None:
    data: Any = delivery("A crash")
    inner = data
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    found = PipelineRegistry([pipeline]).validate("github.issues", data)
    assert [problem.path for problem in found] == [("data", *path)]


def test_words_are_found_whole_and_in_any_case() -> None:
    assert first_word("It CRASHES", ("crash", "crashes")) == "crashes"
    assert first_word("a debugger", ("bug",)) is None
    assert first_word("", RULES[0][1]) is None
