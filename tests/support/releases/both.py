"""Version 2 with version 1 beside it, for the runs that began in it."""

from tests.support.releases.one import grown as old
from tests.support.releases.two import grown

__all__ = ["grown", "old"]
