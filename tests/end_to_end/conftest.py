from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.otlp import OtlpReceiver, otlp_receiver
from tests.support.system import System, system


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
