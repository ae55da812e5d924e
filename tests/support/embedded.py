import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from throughline.embedded import EmbeddedPostgres, EmbeddedRedis


class EmbeddedProvider:
    """The servers of ``make demo``, with the same settings, each over a folder that goes with it."""

    @contextmanager
    def postgres(self) -> Iterator[str]:
        """A PostgreSQL server; yields the URL of its maintenance database."""
        with tempfile.TemporaryDirectory(prefix="test-postgres-") as folder, EmbeddedPostgres(Path(folder)) as server:
            yield server.url_of("postgres")

    @contextmanager
    def redis(self) -> Iterator[str]:
        """A Redis server; yields its URL."""
        with tempfile.TemporaryDirectory(prefix="test-redis-") as folder, EmbeddedRedis(Path(folder)) as server:
            yield server.url
