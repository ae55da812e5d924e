import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.docker_client import DockerClient


class Backend(StrEnum):
    """Where the test servers come from."""

    TESTCONTAINERS = "testcontainers"
    EMBEDDED = "embedded"


@dataclass(frozen=True)
class Choice:
    """The backend of one run of the suite, and why it is this one."""

    backend: Backend
    reason: str
    postgres_image: str
    redis_image: str

    def __str__(self) -> str:
        return f"{self.backend} ({self.reason})"


def choose_backend(environment: Mapping[str, str] = os.environ) -> Choice:
    """Containers where a Docker engine answers and has both images, else the embedded servers.

    Images are never pulled here, so that a unit test doesn't wait for a registry: ``make test`` fetches them first.

    Raises:
        RuntimeError: TEST_REQUIRE_DOCKER=1 and containers can't be had.

    """
    postgres_image = environment.get("TEST_POSTGRES_IMAGE", "postgres:17")
    redis_image = environment.get("TEST_REDIS_IMAGE", "redis:7.4")
    problem = _why_no_containers(postgres_image, redis_image)
    if problem is None:
        reason = f"postgres image {postgres_image}, redis image {redis_image}"
        return Choice(Backend.TESTCONTAINERS, reason, postgres_image, redis_image)
    if environment.get("TEST_REQUIRE_DOCKER") == "1":
        raise RuntimeError(f"TEST_REQUIRE_DOCKER=1, but {problem}")
    return Choice(Backend.EMBEDDED, problem, postgres_image, redis_image)


def _why_no_containers(*images: str) -> str | None:
    try:
        client = DockerClient(timeout=5).client
    except DockerException:
        return "no Docker engine answers"
    try:
        client.ping()
        missing = [image for image in images if not client.images.list(name=image)]
    except (DockerException, OSError):
        return "no Docker engine answers"
    finally:
        client.close()
    return f"the Docker engine has no image {missing[0]}" if missing else None
