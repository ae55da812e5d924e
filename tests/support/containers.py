import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from testcontainers.community.postgres import PostgresContainer
from testcontainers.community.redis import RedisContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.support.backend import Choice

# Ryuk's own wait does nothing and can leak a container: the server process removes what it started.
_CONFIGURATION = {"_ryuk_disabled": True, "sleep_time": 0.2, "max_tries": 300}


class ContainerProvider:
    """PostgreSQL and Redis in containers of the images that were chosen."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        for name, value in _CONFIGURATION.items():
            setattr(testcontainers_config, name, value)

    @contextmanager
    def postgres(self) -> Iterator[str]:
        """A PostgreSQL server; yields the URL of its maintenance database."""
        container = PostgresContainer(
            self._choice.postgres_image,
            username="throughline",
            password=secrets.token_hex(16),
            dbname="postgres",
            driver=None,
        )
        with container.with_command(["postgres", "-c", "max_connections=200"]):
            yield container.get_connection_url(host=_host(container))

    @contextmanager
    def redis(self) -> Iterator[str]:
        """A Redis server; yields its URL."""
        password = secrets.token_hex(16)
        with RedisContainer(self._choice.redis_image, password=password) as container:
            yield f"redis://:{password}@{_host(container)}:{container.get_exposed_port(container.port)}/0"


def _host(container: DockerContainer) -> str:
    """Docker may publish a port as two different ones for IPv4 and IPv6 and reports the first: say which is meant."""
    host = container.get_container_host_ip()
    return "127.0.0.1" if host == "localhost" else host
