import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from events import Failed, FailureKind, Permanent, Retry, RetryAfter, Transient
from pipelines.checks import is_count
from pipelines.error_info import error_info
from pipelines.errors import InvalidOutputError, InvalidRetryPolicyError

_LARGEST_EXPONENT = 60


class NodeTimeoutError(Transient):
    """A node, or the pipeline as a whole, took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """After which errors a run is tried again, how often, and how long it waits in between.

    The wait before try n + 1 is drawn evenly from 0 to ``base * 2 ** (n - 1)`` seconds, ``cap`` at most (full jitter:
    what failed together does not come back together). ``RetryAfter`` says its wait itself, ``max_retry_after`` seconds
    at most.

    Errors of the classes in ``retry_on`` are retried, and so are ``Transient`` and timeouts whatever it holds; those in
    ``give_up_on`` are not, and ``Permanent`` never is. Whether the values make sense is checked by the pipeline that
    the policy is for, which can say where it stands.
    """

    max_attempts: int = 3
    base: float = 1.0
    cap: float = 60.0
    max_retry_after: float = 3600.0
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    give_up_on: tuple[type[BaseException], ...] = ()


def decide(
    error: BaseException,
    policy: RetryPolicy,
    errors_so_far: int,
    *,
    node: str | None = None,
    draw: Callable[[], float] = random.random,
) -> Retry | Failed:
    """Say what an error means for the run, ``errors_so_far`` being the tries that failed before this one.

    An error that the policy doesn't retry ends the run, also as one of a group; so does the last of
    ``policy.max_attempts`` tries. ``draw`` gives a number from 0 to 1.
    """
    info = error_info(error, node=node)
    if not is_retried(error, policy) or errors_so_far + 1 >= policy.max_attempts:
        return Failed(kind=failure_kind(error), error=info)
    asked = [leaf.seconds for leaf in _leaves(error) if isinstance(leaf, RetryAfter)]
    delay = min(max(asked), policy.max_retry_after) if asked else backoff(policy, errors_so_far, draw=draw)
    return Retry(delay=delay, error=info)


def is_retried(error: BaseException, policy: RetryPolicy) -> bool:
    """Say whether another try could help, as far as the policy knows; of a group, whether it could with all in it."""
    refused: tuple[type[BaseException], ...] = (Permanent, *policy.give_up_on)
    wanted: tuple[type[BaseException], ...] = (Transient, TimeoutError, *policy.retry_on)
    return not isinstance(error, refused) and all(
        isinstance(leaf, wanted) and not isinstance(leaf, refused) for leaf in _leaves(error)
    )


def failure_kind(error: BaseException) -> FailureKind:
    """Name the kind of a final failure: ``timeout`` is our deadline, a ``TimeoutError`` of user code an ``error``."""
    if isinstance(error, InvalidOutputError):
        return FailureKind.INVALID_OUTPUT
    return FailureKind.TIMEOUT if isinstance(error, NodeTimeoutError) else FailureKind.ERROR


def backoff(policy: RetryPolicy, errors_so_far: int, *, draw: Callable[[], float] = random.random) -> float:
    """Return the seconds to wait after one more error: never below 0, never above ``policy.cap``."""
    return draw() * min(policy.cap, policy.base * 2.0 ** min(errors_so_far, _LARGEST_EXPONENT))


def check_retry(place: str, policy: object) -> None:
    """Refuse a policy that can't be followed, or one part of which could never come to bear.

    Raises:
        InvalidRetryPolicyError: it is one.

    """
    problem = _problem(policy) if isinstance(policy, RetryPolicy) else f"is {policy!r}; give a RetryPolicy(...)"
    if problem:
        raise InvalidRetryPolicyError(f"{place}: retry: {problem}")


def _problem(policy: RetryPolicy) -> str | None:
    if not is_count(policy.max_attempts):
        return f"max_attempts is {policy.max_attempts!r}; give a whole number from 1 up"
    if not (_is_seconds(policy.base) and _is_seconds(policy.cap) and policy.base <= policy.cap):
        return f"base is {policy.base!r} and cap {policy.cap!r}; give finite seconds, 0 <= base <= cap"
    if not _is_seconds(policy.max_retry_after):
        return f"max_retry_after is {policy.max_retry_after!r}; give finite seconds from 0 up"
    for name, classes in (("retry_on", policy.retry_on), ("give_up_on", policy.give_up_on)):
        if not _are_exceptions(classes):
            return f"{name} is {classes!r}; give a tuple of exception classes, such as (ConnectionError,)"
    return _contradiction(policy)


def _contradiction(policy: RetryPolicy) -> str | None:
    for wanted in policy.retry_on:
        if issubclass(wanted, Permanent):
            return f"retry_on holds {wanted.__name__}, but what is Permanent is never retried; take it out"
    for refused in policy.give_up_on:
        if issubclass(Transient, refused):
            return f"give_up_on holds {refused.__name__}, which covers Transient; name what to give up on"
        for wanted in policy.retry_on:
            if issubclass(wanted, refused):
                return (
                    f"give_up_on holds {refused.__name__}, which covers all of retry_on's {wanted.__name__}; drop one"
                )
    return None


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _are_exceptions(classes: object) -> bool:
    return isinstance(classes, tuple) and all(
        isinstance(one, type) and issubclass(one, BaseException) for one in classes
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error
