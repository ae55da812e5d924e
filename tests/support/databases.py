import asyncio
import itertools
from urllib.parse import urlsplit

import asyncpg
from pydantic import SecretStr

from settings import DatabaseSettings

_TEMPLATE = "throughline_template"


class Databases:
    """Makes and drops databases on one test server; the first migrated one builds the template."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._numbers = itertools.count(1)
        self._template_is_migrated = False

    def create(self, *, migrated: bool) -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        if migrated:
            self._migrate_template()
            self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        else:
            self._execute(f"CREATE DATABASE {name}")
        return self._url(name)

    def drop(self, url: str) -> None:
        """Drop a database, ending whatever sessions a test left in it."""
        self._execute(f"DROP DATABASE IF EXISTS {urlsplit(url).path.lstrip('/')} WITH (FORCE)")

    def _migrate_template(self) -> None:
        if self._template_is_migrated:
            return
        from migrations.run import upgrade  # noqa: PLC0415 -- a suite without a migrated database needs no alembic

        self._execute(f"DROP DATABASE IF EXISTS {_TEMPLATE} WITH (FORCE)")
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        upgrade(DatabaseSettings(url=SecretStr(self._url(_TEMPLATE))))
        self._template_is_migrated = True

    def _url(self, name: str) -> str:
        return urlsplit(self._server_url)._replace(path=f"/{name}").geturl()

    def _execute(self, statement: str) -> None:
        asyncio.run(_execute(self._server_url, statement))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
