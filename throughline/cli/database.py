from collections.abc import Iterator
from contextlib import contextmanager

from events import ConfigurationError
from settings import DatabaseSettings
from settings.reference import mask_url
from storage.engine import is_unavailable


@contextmanager
def reachable(settings: DatabaseSettings) -> Iterator[None]:
    """Turn a lost or refused connection in the block into one line that names the server, without its password."""
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if type(error).__name__ == "DatabaseUnavailable" and error.__cause__ else error
        if is_unavailable(cause):
            url = mask_url(settings.url.get_secret_value())
            raise ConfigurationError(f"PostgreSQL at {url}: {_first_line(cause)} (THROUGHLINE_DATABASE_URL)") from error
        raise


def _first_line(error: BaseException) -> str:
    origin = getattr(error, "orig", None) or error
    return next((line for line in str(origin).splitlines() if line.strip()), type(origin).__name__)
