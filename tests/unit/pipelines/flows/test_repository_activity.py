from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events import Event, JsonValue, Succeeded, new_id
from pipelines import MemoryJournal, PipelineRegistry, execute
from pipelines.flows.repository_activity import Activity, pipeline

RECEIVED = datetime(2026, 5, 1, 12, tzinfo=UTC)
ADA: JsonValue = {"login": "ada"}
SHOP: JsonValue = {"full_name": "acme/shop", "html_url": "https://example.test/acme/shop"}


async def activity(kind: str, data: dict[str, JsonValue], *, time: datetime | None = None) -> Activity:
    event = Event(event_id=new_id(), ce_id="1", type=f"github.{kind}", data=data, time=time, received_at=RECEIVED)
    assert PipelineRegistry([pipeline]).validate(event.type, data) == ()
    journal = MemoryJournal()
    assert await execute(pipeline, pipeline.context(event), journal) == Succeeded()
    return Activity.model_validate(journal.records[-1].output)


async def test_an_event_becomes_a_record_of_who_did_what_where_and_when() -> None:
    opened = await activity(
        "pull_request",
        {
            "action": "opened",
            "sender": ADA,
            "repository": SHOP,
            "organization": {"login": "acme"},
            "pull_request": {
                "number": 3,
                "title": "Faster basket",
                "html_url": "https://example.test/acme/shop/pull/3",
                "created_at": "2026-04-30T10:00:00+02:00",
                "updated_at": "2026-04-30T11:00:00+02:00",
            },
        },
    )
    assert opened == Activity(
        kind="pull_request",
        action="opened",
        actor="ada",
        repository="acme/shop",
        organization="acme",
        summary='ada opened pull request #3 "Faster basket" in acme/shop',
        url="https://example.test/acme/shop/pull/3",
        occurred_at=datetime(2026, 4, 30, 9, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("kind", "data", "summary"),
    [
        ("push", {"ref": "refs/heads/main", "head_commit": None}, 'ada pushed "refs/heads/main" in acme/shop'),
        ("delete", {"ref": "v1", "ref_type": "tag"}, 'ada deleted tag "v1" in acme/shop'),
        ("public", {}, "ada made the repository public in acme/shop"),
        ("issue_comment", {"action": "created", "comment": {}, "issue": {"number": 1, "title": "T"}}, None),
        ("something_new", {"action": "done_so"}, "ada done so something new in acme/shop"),
        ("something_new", {}, "ada something new in acme/shop"),
    ],
)
async def test_the_summary_is_a_line_that_people_can_read(
    kind: str, data: dict[str, JsonValue], summary: str | None
) -> None:
    told = (await activity(kind, {"sender": ADA, "repository": SHOP, **data})).summary
    assert told == (summary or 'ada created issue comment #1 "T" in acme/shop')


async def test_an_event_without_sender_repository_and_action_is_an_activity_too() -> None:
    bare = await activity("security_advisory", {"security_advisory": {"summary": "Moderate"}})
    assert (bare.actor, bare.repository, bare.action, bare.url) == ("github", None, "security_advisory", None)
    assert (await activity("ping", {})).kind == "ping"


async def test_the_page_is_the_most_telling_one_and_the_repositorys_at_last() -> None:
    comment: dict[str, JsonValue] = {"comment": {"html_url": "https://c.test"}, "issue": {"html_url": "https://i.test"}}
    assert (await activity("issue_comment", comment)).url == "https://c.test"
    assert (await activity("watch", {"repository": SHOP})).url == "https://example.test/acme/shop"


async def test_without_a_time_of_its_own_an_event_happened_when_it_was_sent_or_else_received() -> None:
    sent = RECEIVED - timedelta(hours=1)
    assert (await activity("watch", {})).occurred_at == RECEIVED
    assert (await activity("watch", {}, time=sent)).occurred_at == sent


async def test_a_long_name_is_cut_in_the_summary() -> None:
    assert len((await activity("issues", {"issue": {"title": "x" * 5000}})).summary) < 200


def test_a_field_of_another_type_is_named() -> None:
    data: Any = {"repository": {"full_name": 5}}
    found = PipelineRegistry([pipeline]).validate("github.push", data)
    assert [problem.path for problem in found] == [("data", "repository", "full_name")]
