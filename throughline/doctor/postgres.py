import asyncio
import time
from collections.abc import Iterator

from events import ThroughlineError
from migrations import SchemaState, schema_state
from settings import DatabaseSettings, Settings
from storage.engine import create_engine
from storage.facts import ServerFacts, server_facts
from throughline.cli.database import reachable
from throughline.doctor.finding import Finding, Verdict

_OLDEST = 150000
_SKEW_SECONDS = 1.0
_CROWDED = 0.8


def examine_postgres(settings: Settings) -> Iterator[Finding]:
    """Look at PostgreSQL: reachable, durable, migrated, with room, and on time."""
    try:
        with reachable(settings.database):
            facts = asyncio.run(_facts(settings.database))
            state = asyncio.run(schema_state(settings.database))
    except ThroughlineError as error:
        mend = "start it, or mend THROUGHLINE_DATABASE_URL"
        yield Finding(subject="postgres", verdict=Verdict.BAD, said=str(error), mend=mend)
        return
    yield _version(facts)
    yield from _durability(facts)
    yield _schema(state)
    yield _room(facts)
    yield _clock(facts)


async def _facts(settings: DatabaseSettings) -> ServerFacts:
    engine = create_engine(settings, application="doctor", pool_size=1)
    try:
        async with engine.connect() as connection:
            return await server_facts(connection)
    finally:
        await engine.dispose()


def _version(facts: ServerFacts) -> Finding:
    if facts.version_number < _OLDEST:
        mend = f"use PostgreSQL {_OLDEST // 10000} or newer"
        return Finding(subject="postgres version", verdict=Verdict.BAD, said=facts.version, mend=mend)
    if facts.encoding != "UTF8":
        mend = "make the database with ENCODING 'UTF8'"
        return Finding(subject="postgres encoding", verdict=Verdict.BAD, said=facts.encoding, mend=mend)
    return Finding(subject="postgres version", verdict=Verdict.GOOD, said=facts.version)


def _durability(facts: ServerFacts) -> Iterator[Finding]:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        value = getattr(facts, name)
        good = value not in {"off", "local"} if name == "synchronous_commit" else value == "on"
        mend = "" if good else f"set {name} = on: without it an answered 202 can be lost"
        verdict = Verdict.GOOD if good else Verdict.BAD
        yield Finding(subject=f"postgres {name}", verdict=verdict, said=value, mend=mend)


def _schema(state: SchemaState) -> Finding:
    match state:
        case SchemaState.CURRENT:
            return Finding(subject="postgres schema", verdict=Verdict.GOOD, said=state)
        case SchemaState.NEWER:
            said = "newer than this release"
            return Finding(
                subject="postgres schema", verdict=Verdict.WARNING, said=said, mend="bring the other processes up to it"
            )
        case _:
            return Finding(subject="postgres schema", verdict=Verdict.BAD, said=state, mend="run: throughline migrate")


def _room(facts: ServerFacts) -> Finding:
    said = f"{facts.connections} of {facts.max_connections} connections"
    if facts.connections > facts.max_connections * _CROWDED:
        mend = "raise max_connections, or lower THROUGHLINE_DATABASE_POOL_SIZE"
        return Finding(subject="postgres connections", verdict=Verdict.WARNING, said=said, mend=mend)
    return Finding(subject="postgres connections", verdict=Verdict.GOOD, said=said)


def _clock(facts: ServerFacts) -> Finding:
    skew = facts.clock - time.time()
    said = f"{skew:+.3f} s from this machine's"
    if abs(skew) > _SKEW_SECONDS:
        mend = "keep the clocks in step (NTP): logs and spans of different machines don't line up"
        return Finding(subject="postgres clock", verdict=Verdict.WARNING, said=said, mend=mend)
    return Finding(subject="postgres clock", verdict=Verdict.GOOD, said=said)
