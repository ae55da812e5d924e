import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from events import ConfigurationError
from settings import DatabaseSettings, Settings, load_settings
from settings.reference import mask_url
from storage.engine import is_not_migrated, is_unavailable

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="FOLDER",
        help="The folder of a running throughline up (.throughline): look into its servers.",
        show_default=False,
    ),
]


def settings_for(data: Path | None) -> Settings:
    """Read the settings; with a folder, its servers are in the place of THROUGHLINE_DATABASE_URL and …_REDIS_URL.

    Raises:
        FolderUnusable: no PostgreSQL of ours runs over the folder.

    """
    settings = load_settings()
    if data is None:
        return settings
    from throughline.embedded import running_postgres_url, started_redis_url

    database = settings.database.model_copy(update={"url": SecretStr(running_postgres_url(data))})
    redis_url = started_redis_url(data)
    redis = settings.redis.model_copy(update={"url": SecretStr(redis_url)}) if redis_url else settings.redis
    return settings.model_copy(update={"database": database, "redis": redis})


def data_hint() -> str:
    """Say how to look into a stack of ours where there may be one, and nothing says to look elsewhere; else nothing."""
    from throughline.embedded import DEFAULT_FOLDER

    if "THROUGHLINE_DATABASE_URL" in os.environ or not (DEFAULT_FOLDER / "postgres").is_dir():
        return ""
    return f"to look into what throughline up has started here, give --data {DEFAULT_FOLDER}"


@contextmanager
def reachable(settings: DatabaseSettings, *, hint: str = "") -> Iterator[None]:
    """Turn a lost or refused connection in the block into one line that names the server, without its password."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "DatabaseUnavailable" and error.__cause__ else error
        if is_unavailable(cause):
            url = mask_url(settings.url.get_secret_value())
            said = f"PostgreSQL at {url}: {first_line(cause)} (THROUGHLINE_DATABASE_URL)"
            if is_not_migrated(cause):
                said += "; run: throughline migrate"
            raise ConfigurationError(f"{said}; {hint}" if hint else said) from error
        raise


def first_line(error: BaseException) -> str:
    """Return what a driver's error says, in one line."""
    origin = getattr(error, "orig", None) or error
    return next((line for line in str(origin).splitlines() if line.strip()), type(origin).__name__)
