"""One root for every error of the project; nothing here knows HTTP or Celery.

The docstring of a class is its default message. Each takes at most one argument, so that it survives pickling
between processes.
"""

import inspect
import math
from typing import Self


class ThroughlineError(Exception):
    """Something went wrong in Throughline."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(self.__doc__ or type(self).__name__).splitlines()[0])


class Permanent(ThroughlineError):  # noqa: N818 - the words of the domain: a permanent or transient error
    """The same input will fail in the same way: never retried."""


class Transient(ThroughlineError):  # noqa: N818 - see Permanent
    """Another try may succeed: retried as the policy says."""


class RetryAfter(Transient):
    """Another try may succeed, but not before some seconds are over: what a server says by ``Retry-After``.

    Raises:
        ValueError: ``seconds`` is not a finite number from 0 up.

    """

    def __init__(self, seconds: float) -> None:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds is {seconds!r}; give a finite number from 0 up")
        super().__init__(f"try again in {seconds:g} s")
        self.seconds = seconds

    def __reduce__(self) -> tuple[type[Self], tuple[float]]:
        return type(self), (self.seconds,)


class ConfigurationError(Permanent):
    """The settings, a pipeline or the surroundings are wrong; starting makes no sense."""
