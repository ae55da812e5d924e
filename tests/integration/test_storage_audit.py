import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

import storage.audit
from events import RunStatus, ThroughlineError
from settings import DatabaseSettings
from storage import accounting
from storage.audit import Finding, audit
from storage.check import Check
from storage.engine import create_engine, transaction
from storage.impossible import CHECKS
from tests.support.histories import an_event
from throughline.cli.main import app

_RUN = "run_id = (SELECT run_id FROM runs WHERE status = '{}')"
_NO_FOREIGN_KEYS = """
    ALTER TABLE runs DROP CONSTRAINT runs_events_fkey;
    ALTER TABLE attempts DROP CONSTRAINT attempts_runs_fkey;
    ALTER TABLE node_results DROP CONSTRAINT node_results_runs_fkey;
    ALTER TABLE waits DROP CONSTRAINT waits_runs_fkey
"""
_NO_CHECKS = """
    ALTER TABLE runs DROP CONSTRAINT runs_running_has_lease_check;
    ALTER TABLE runs DROP CONSTRAINT runs_final_has_time_check;
    ALTER TABLE runs DROP CONSTRAINT runs_failed_has_kind_check
"""


def _an_attempt(status: str, attempt: int, outcome: str | None) -> str:
    ended = f"now(), '{outcome}'" if outcome else "NULL, NULL"
    return f"""
        INSERT INTO attempts (run_id, attempt, lease_id, worker, finished_at, outcome)
        SELECT run_id, {attempt}, gen_random_uuid(), 'w', {ended} FROM runs WHERE status = '{status}'
    """


def _a_result(attempt: int, status: str = "succeeded") -> str:
    return f"""
        INSERT INTO node_results (run_id, node, attempt, status, started_at, duration_seconds)
        SELECT run_id, 'planted', {attempt}, '{status}', now(), 1 FROM runs WHERE status = 'succeeded'
    """


_A_WAIT = """
    UPDATE runs SET reason = 'waiting', available_at = now() + interval '1 h', attempt = 1 WHERE status = 'queued';
    INSERT INTO waits (run_id, node, type, path, key, began_at, until, probed)
    SELECT run_id, 'n', 't', 'subject', 'k', now() - interval '1 s', now() + interval '1 h', true FROM runs
    WHERE status = 'queued'
"""
_A_SLEEP = """
    INSERT INTO waits (run_id, node, until) SELECT run_id, 'n', now() FROM runs WHERE status = 'succeeded'
"""

_SUCCEEDED, _RUNNING, _QUEUED = _RUN.format("succeeded"), _RUN.format("running"), _RUN.format("queued")

_LIMITED = """
    UPDATE runs SET lane = 'x', admitted_at = now(),
        limits = '[{{"name": "vendor", "key": "a", "concurrency": 1}}]' WHERE status = '{}'
"""

PLANTED = [
    ("running_without_lease", "running", f"UPDATE runs SET lease_id = gen_random_uuid() WHERE {_RUNNING}"),
    (
        "running_without_lease",
        "running",
        "UPDATE worker_leases SET ended_at = now() - interval '2 minutes'",
    ),
    ("running_without_attempt", "running", f"DELETE FROM attempts WHERE {_RUNNING}"),
    ("final_without_time", "succeeded", f"{_NO_CHECKS}; UPDATE runs SET finished_at = NULL WHERE {_SUCCEEDED}"),
    ("final_without_time", "queued", f"{_NO_CHECKS}; UPDATE runs SET finished_at = now() WHERE {_QUEUED}"),
    (
        "lease_of_idle_run",
        "succeeded",
        f"{_NO_CHECKS}; UPDATE runs SET lease_id = gen_random_uuid() WHERE {_SUCCEEDED}",
    ),
    ("attempt_gaps", "succeeded", f"UPDATE runs SET attempt = 2 WHERE {_SUCCEEDED}"),
    ("attempt_gaps", "succeeded", f"DELETE FROM attempts WHERE {_SUCCEEDED}"),
    ("attempt_gaps", "succeeded", f"UPDATE attempts SET attempt = 2 WHERE {_SUCCEEDED}"),
    ("attempt_gaps", "queued", _an_attempt("queued", 1, "retried")),
    ("several_open_attempts", "running", _an_attempt("running", 2, None)),
    ("open_attempt_of_idle_run", "succeeded", _an_attempt("succeeded", 2, None)),
    ("open_attempt_of_idle_run", "queued", _an_attempt("queued", 1, None)),
    ("completed_twice", "succeeded", _an_attempt("succeeded", 2, "succeeded")),
    ("completed_twice", "failed", _an_attempt("failed", 2, "cancelled")),
    ("succeeded_otherwise", "succeeded", f"UPDATE attempts SET outcome = 'lost' WHERE {_SUCCEEDED}"),
    ("succeeded_otherwise", "running", _an_attempt("running", 2, "succeeded")),
    ("succeeded_with_failed_node", "succeeded", _a_result(1, "failed")),
    ("unknown_results", "succeeded", _a_result(2)),
    ("unknown_results", "succeeded", _a_result(0)),
    ("unknown_results", "succeeded", f"{_NO_FOREIGN_KEYS}; DELETE FROM runs WHERE status = 'succeeded'"),
    ("unknown_attempts", "succeeded", f"{_NO_FOREIGN_KEYS}; DELETE FROM runs WHERE status = 'succeeded'"),
    (
        "unknown_events",
        "succeeded",
        f"{_NO_FOREIGN_KEYS}; DELETE FROM events WHERE event_id = (SELECT event_id FROM runs WHERE {_SUCCEEDED})",
    ),
    ("missing_runs", "event of succeeded", f"DELETE FROM runs WHERE {_SUCCEEDED}"),
    ("never_due", "queued", f"UPDATE runs SET available_at = 'infinity' WHERE {_QUEUED}"),
    ("never_due", "queued", f"UPDATE runs SET publish_at = now() + interval '3 years' WHERE {_QUEUED}"),
    (
        "over_limit",
        "vendor/a (2)",
        f"""
            {_LIMITED.format("queued")}; {_LIMITED.format("running")};
            INSERT INTO permits (name, key, admitted_at, run_id, kept_until)
            SELECT 'vendor', 'a', admitted_at, run_id, now() FROM runs WHERE admitted_at IS NOT NULL
        """,
    ),
    ("admitted_without_permit", "running", _LIMITED.format("running")),
    (
        "admitted_without_permit",
        "running",
        f"""
            {_LIMITED.format("running")};
            INSERT INTO permits (name, key, admitted_at, run_id, kept_until, spent)
            SELECT 'vendor', 'a', admitted_at, run_id, now(), true FROM runs WHERE admitted_at IS NOT NULL
        """,
    ),
    ("unadmitted_at_large", "queued", f"{_LIMITED.format('queued')}; UPDATE runs SET admitted_at = NULL"),
    ("unadmitted_at_large", "running", f"{_LIMITED.format('running')}; UPDATE runs SET admitted_at = NULL"),
    ("unique_at_large", "queued", f"UPDATE runs SET unique_key = 'a' WHERE {_QUEUED}"),
    ("unique_at_large", "running", f"UPDATE runs SET unique_key = 'a' WHERE {_RUNNING}"),
    ("times_reversed", "succeeded", f"UPDATE runs SET finished_at = '2000-01-01' WHERE {_SUCCEEDED}"),
    (
        "lease_not_ended",
        "lease",
        """
            INSERT INTO worker_leases (lease_id, worker, expires_at)
            VALUES ('00000000-0000-0000-0000-00000000dead', 'w', now() + interval '1 second' * -120)
        """,
    ),
    ("waiting_for_nothing", "queued", _A_WAIT + "; UPDATE waits SET ended_at = now()"),
    ("waiting_for_nothing", "queued", _A_WAIT + "; UPDATE runs SET reason = 'sleeping'; DELETE FROM waits"),
    (
        "waiting_too_long",
        "queued",
        _A_WAIT + f"; UPDATE runs SET available_at = now() + interval '2 h' WHERE {_QUEUED}",
    ),
    (
        "wait_passed_over",
        "queued",
        _A_WAIT
        + """;
            INSERT INTO event_keys (event_id, type, path, key, received_at, probed)
            SELECT event_id, 't', 'subject', 'k', now(), true FROM events
            WHERE event_id NOT IN (SELECT event_id FROM runs)
        """,
    ),
    ("never_looked_at", "queued", _A_WAIT + "; UPDATE waits SET probed = false"),
    (
        "never_looked_at",
        "subject",
        """
            INSERT INTO event_keys (event_id, type, path, key)
            SELECT event_id, 't', 'subject', 'k' FROM events WHERE event_id NOT IN (SELECT event_id FROM runs)
        """,
    ),
    ("unknown_waits", "queued", _A_WAIT + f"; UPDATE runs SET attempt = 0 WHERE {_QUEUED}"),
    ("unknown_waits", "succeeded", _A_SLEEP + "; UPDATE waits SET ended_at = began_at - interval '1 s'"),
    ("account_differs", "default (runs 4 of 5", f"DELETE FROM runs WHERE {_SUCCEEDED}"),
    ("account_differs", "final 3 of 4", "UPDATE run_deltas SET final = final + 1 WHERE final > 0"),
]


@pytest.fixture
def settings(database_url: str) -> DatabaseSettings:
    return DatabaseSettings.model_validate({"url": database_url})


@pytest.fixture
async def engine(settings: DatabaseSettings) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(settings, application="test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def names(engine: AsyncEngine) -> dict[str, str]:
    """A database with one run in each state, all of it well; the ids by what they are of."""
    for status in RunStatus:
        await an_event(engine, status, days=0)
    await an_event(engine)
    async with transaction(engine) as connection:
        await accounting.fold_deltas(connection, most=1000)
        rows = (await connection.execute(text("SELECT status, run_id, event_id FROM runs"))).all()
    runs = {row.status: str(row.run_id) for row in rows}
    events = {f"event of {row.status}": str(row.event_id) for row in rows}
    return runs | events | {"lease": str(UUID(int=0xDEAD))}


async def look(settings: DatabaseSettings, *, grace: float = 60.0, most: int = 20) -> dict[str, Finding]:
    findings = await audit(settings, grace=grace, most=most, check_timeout=20.0)
    return {finding.check: finding for finding in findings if finding.count}


async def execute(engine: AsyncEngine, statements: str) -> None:
    async with transaction(engine) as connection:
        for statement in statements.split(";"):
            await connection.execute(text(statement))


@pytest.mark.usefixtures("names")
async def test_a_database_in_which_all_is_well_is_clean(settings: DatabaseSettings) -> None:
    assert await look(settings) == {}


async def test_a_retried_rescued_or_replayed_run_is_nothing_to_report(
    engine: AsyncEngine, names: dict[str, str], settings: DatabaseSettings
) -> None:
    """Results of attempt 0 are those that a replay was given."""
    await execute(
        engine,
        f"""
        INSERT INTO runs (run_id, event_id, pipeline, pipeline_version, queue, replay_of, replay_from)
        SELECT gen_random_uuid(), event_id, pipeline, 1, queue, run_id, 'n' FROM runs WHERE {_SUCCEEDED};
        INSERT INTO run_deltas (accepted) VALUES (1);
        INSERT INTO node_results (run_id, node, attempt, status, started_at, duration_seconds)
        SELECT run_id, 'given', 0, 'succeeded', now(), 1 FROM runs WHERE replay_of IS NOT NULL;
        UPDATE runs SET attempt = 1 WHERE run_id = '{names["queued"]}';
        INSERT INTO attempts (run_id, attempt, lease_id, worker, finished_at, outcome)
        VALUES ('{names["queued"]}', 1, gen_random_uuid(), 'w', now(), 'lost')
        """,
    )
    assert await look(settings) == {}


@pytest.mark.parametrize(("check", "what", "plant"), PLANTED)
async def test_each_impossible_state_is_named_with_its_ids(
    engine: AsyncEngine, names: dict[str, str], settings: DatabaseSettings, check: str, what: str, plant: str
) -> None:
    await execute(engine, plant)
    found = (await look(settings, grace=0.0))[check]
    assert found.count == len(found.ids) == 1
    assert names.get(what, what) in found.ids[0]


def test_every_check_is_tried() -> None:
    assert {check for check, _, _ in PLANTED} == {check.name for check in CHECKS}


async def test_of_many_the_first_are_named_and_all_are_counted(engine: AsyncEngine, settings: DatabaseSettings) -> None:
    for _ in range(5):
        await an_event(engine, RunStatus.SUCCEEDED)
    await execute(engine, "DELETE FROM attempts")
    found = (await look(settings, most=3))["attempt_gaps"]
    assert (found.count, len(found.ids)) == (5, 3)


@pytest.mark.usefixtures("names")
async def test_what_a_dead_worker_left_a_moment_ago_may_still_wait_for_a_relay(
    engine: AsyncEngine, settings: DatabaseSettings
) -> None:
    await execute(engine, "UPDATE worker_leases SET expires_at = now() - interval '30 seconds'")
    assert await look(settings) == {}


@pytest.mark.usefixtures("names")
async def test_the_command_says_clean_or_the_ids_and_ends_with_a_code_to_match(
    engine: AsyncEngine, names: dict[str, str], database_url: str
) -> None:
    def command(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["audit", *options], env={"THROUGHLINE_DATABASE_URL": database_url})
        return result.exit_code, result.output

    code, said = await asyncio.to_thread(command)
    assert (code, "clean" in said) == (0, True)
    await execute(engine, f"DELETE FROM attempts WHERE {_RUNNING}")
    code, said = await asyncio.to_thread(command)
    assert (code, "running_without_attempt" in said, names["running"] in said) == (1, True, True)
    code, said = await asyncio.to_thread(command, "--json")
    answer = json.loads(said)
    assert (code, answer["clean"]) == (1, False)
    assert {check["check"]: check["ids"] for check in answer["checks"]}["attempt_gaps"] == [names["running"]]


@pytest.mark.parametrize("what", ["empty", "older", "away"])
async def test_a_database_that_cannot_be_looked_at_is_not_taken_for_one_with_faults(
    empty_database_url: str, database_url: str, engine: AsyncEngine, what: str
) -> None:
    """1 would say that something was found."""
    if what == "older":
        await execute(engine, "ALTER TABLE runs DROP COLUMN replay_of CASCADE")
    urls = {"empty": empty_database_url, "older": database_url, "away": "postgresql://nobody:none@127.0.0.1:1/none"}
    url = urls[what]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "throughline",
        "audit",
        env=os.environ | {"THROUGHLINE_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 2
    assert b"Traceback" not in said
    assert len(said.splitlines()) == 1


async def test_an_audit_writes_nothing_and_a_check_that_takes_too_long_is_ended(
    settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Check(name="slow", meaning="sleeps", sql="SELECT pg_sleep(30)::text AS id")
    monkeypatch.setattr(storage.audit, "CHECKS", (slow,))
    with pytest.raises(ThroughlineError):
        await audit(settings, grace=0, most=1, check_timeout=0.2)
    writes = Check(name="writes", meaning="", sql="SELECT nextval('run_deltas_delta_id_seq')::text AS id")
    monkeypatch.setattr(storage.audit, "CHECKS", (writes,))
    with pytest.raises(Exception, match=r"(?i)read-?only"):
        await audit(settings, grace=0, most=1, check_timeout=5)
