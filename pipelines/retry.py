import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from events import Failed, FailureKind, Permanent, Retry, Transient
from pipelines.checks import is_count
from pipelines.error_info import error_info
from pipelines.errors import InvalidOutputError, InvalidRetryPolicyError

_LARGEST_EXPONENT = 60


class NodeTimeoutError(Transient):
    """A node, or the pipeline as a whole, took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a run is tried, and how long it waits in between.

    The wait before try n + 1 is drawn evenly from 0 to ``base * 2 ** (n - 1)`` seconds, ``cap`` at most (full jitter:
    what failed together does not come back together).
    """

    max_attempts: int = 3
    base: float = 1.0
    cap: float = 60.0

    def __post_init__(self) -> None:
        if not is_count(self.max_attempts):
            raise InvalidRetryPolicyError(
                f"retry: max_attempts is {self.max_attempts!r}; give a whole number from 1 up"
            )
        if not (math.isfinite(self.base) and math.isfinite(self.cap) and 0 <= self.base <= self.cap):
            raise InvalidRetryPolicyError(
                f"retry: base is {self.base!r} and cap {self.cap!r}; give finite seconds, 0 <= base <= cap"
            )


def decide(
    error: BaseException,
    policy: RetryPolicy,
    errors_so_far: int,
    *,
    node: str | None = None,
    draw: Callable[[], float] = random.random,
) -> Retry | Failed:
    """Say what an error means for the run, ``errors_so_far`` being the tries that failed before this one.

    A permanent error, alone or within a group, is never retried; neither is output that can't be stored. Everything
    else is, until ``policy.max_attempts`` tries have failed. ``draw`` gives a number from 0 to 1.
    """
    info = error_info(error, node=node)
    if is_permanent(error) or errors_so_far + 1 >= policy.max_attempts:
        return Failed(kind=failure_kind(error), error=info)
    return Retry(delay=backoff(policy, errors_so_far, draw=draw), error=info)


def is_permanent(error: BaseException) -> bool:
    """Say whether the same input would fail in the same way again."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(Permanent) is not None
    return isinstance(error, Permanent)


def failure_kind(error: BaseException) -> FailureKind:
    """Name the kind of a final failure: ``timeout`` is our deadline, a ``TimeoutError`` of user code an ``error``."""
    if isinstance(error, InvalidOutputError):
        return FailureKind.INVALID_OUTPUT
    return FailureKind.TIMEOUT if isinstance(error, NodeTimeoutError) else FailureKind.ERROR


def backoff(policy: RetryPolicy, errors_so_far: int, *, draw: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after one more error: never below 0, never above ``policy.cap``."""
    return draw() * min(policy.cap, policy.base * 2.0 ** min(errors_so_far, _LARGEST_EXPONENT))
