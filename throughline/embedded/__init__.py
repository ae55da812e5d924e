"""Real PostgreSQL and Redis servers from installed wheels, over a data folder, for development, the demo and tests."""

from throughline.embedded.external import ExternalServer
from throughline.embedded.folder import DEFAULT_FOLDER, DataFolder
from throughline.embedded.ports import free_port, port_is_free
from throughline.embedded.postgres import EmbeddedPostgres
from throughline.embedded.redis import EmbeddedRedis
from throughline.embedded.running import running_postgres_url, started_redis_url
from throughline.embedded.server import EmbeddedServer

__all__ = [
    "DEFAULT_FOLDER",
    "DataFolder",
    "EmbeddedPostgres",
    "EmbeddedRedis",
    "EmbeddedServer",
    "ExternalServer",
    "free_port",
    "port_is_free",
    "running_postgres_url",
    "started_redis_url",
]
