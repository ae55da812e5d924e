"""What is common to the measurements of the plain design."""

import redis
from sqlalchemy import create_engine

from benchmarks.database import Database
from benchmarks.references.plain_model import Base
from benchmarks.stack import REFERENCES, BenchStack

WORKER = "benchmarks.references.plain_worker"


def make_references(stack: BenchStack) -> None:
    """Make the references' database and table."""
    stack.postgres.psql(f"CREATE DATABASE {REFERENCES}")
    engine = create_engine(stack.references_url.replace("postgresql://", "postgresql+psycopg://", 1))
    Base.metadata.create_all(engine)
    engine.dispose()


def forget_plain(stack: BenchStack) -> None:
    """Remove the plain design's events and messages; nothing may be at work on them."""
    stack.postgres.psql("TRUNCATE plain_events", database=REFERENCES)
    with redis.Redis.from_url(stack.redis_url(1)) as client:
        client.flushdb()


def plain_database(stack: BenchStack) -> Database:
    """Open a connection to the plain design's table."""
    return Database(stack.references_url)
