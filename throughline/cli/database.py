from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from events import ConfigurationError
from settings import DatabaseSettings, Settings, load_settings
from settings.reference import mask_url
from storage.engine import is_unavailable

Data = Annotated[
    Path | None,
    typer.Option("--data", help="The folder of a throughline up: look into its database.", show_default=False),
]


def settings_for(data: Path | None) -> Settings:
    """Read the settings; with a folder, its PostgreSQL is in the place of THROUGHLINE_DATABASE_URL."""
    settings = load_settings()
    if data is None:
        return settings
    from throughline.embedded import running_postgres_url

    database = settings.database.model_copy(update={"url": SecretStr(running_postgres_url(data))})
    return settings.model_copy(update={"database": database})


@contextmanager
def reachable(settings: DatabaseSettings) -> Iterator[None]:
    """Turn a lost or refused connection in the block into one line that names the server, without its password."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "DatabaseUnavailable" and error.__cause__ else error
        if is_unavailable(cause):
            url = mask_url(settings.url.get_secret_value())
            raise ConfigurationError(f"PostgreSQL at {url}: {first_line(cause)} (THROUGHLINE_DATABASE_URL)") from error
        raise


def first_line(error: BaseException) -> str:
    """Return what a driver's error says, in one line."""
    origin = getattr(error, "orig", None) or error
    return next((line for line in str(origin).splitlines() if line.strip()), type(origin).__name__)
