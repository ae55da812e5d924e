from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.otlp import OtlpReceiver, otlp_receiver
from tests.support.servers import Servers
from tests.support.system import System, system


@pytest.fixture(scope="module")
def shared_receiver() -> Iterator[OtlpReceiver]:
    """The collector of ``running``."""
    with otlp_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def running(
    servers: Servers, shared_receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A relay, a worker and an API that all tests of a module share: starting them costs seconds."""
    database_url = servers.create_database(migrated=True)
    settings = {"THROUGHLINE_TELEMETRY_ENDPOINT": shared_receiver.endpoint}
    home = tmp_path_factory.mktemp("system")
    with system(database_url=database_url, redis_url=servers.redis(), home=home, settings=settings) as made:
        made.start_relay()
        made.start_worker()
        made.start_api()
        yield made
    servers.drop_database(database_url)


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """A collector of the test's own."""
    with otlp_receiver() as running:
        yield running


@pytest.fixture
def whole(database_url: str, redis_url: str, tmp_path: Path, receiver: OtlpReceiver) -> Iterator[System]:
    """The system's settings over the test servers, exporting to ``receiver``; the test starts what it needs."""
    settings = {"THROUGHLINE_TELEMETRY_ENDPOINT": receiver.endpoint}
    with system(database_url=database_url, redis_url=redis_url, home=tmp_path, settings=settings) as made:
        yield made
