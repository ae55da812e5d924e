import os
from typing import Final

DATABASE: Final = "BENCH_DATABASE_URL"
REDIS: Final = "BENCH_REDIS_URL"
QUEUE: Final = "bare"


def database_url() -> str:
    """Return the URL of the references' database, for SQLAlchemy with psycopg."""
    return os.environ[DATABASE].replace("postgresql://", "postgresql+psycopg://", 1)


def redis_url() -> str:
    """Return the URL of the references' Redis."""
    return os.environ[REDIS]
