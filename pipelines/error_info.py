import traceback
from types import TracebackType

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from events import ErrorInfo
from observability.redaction import redact_text
from pipelines.wording import predicate

_LONGEST_MESSAGE = 2_000
_LONGEST_READ = 16_384
"""What is searched for credentials, of a message that may be as long as a payload."""
_LONGEST_TRACEBACK = 16_000
_LONGEST_CHAIN = 5
_MOST_PROBLEMS = 10


def error_info(error: BaseException, *, node: str | None = None) -> ErrorInfo:
    """Return what is kept of an error: bounded, storable as PostgreSQL text, without credentials or input."""
    return ErrorInfo(
        type=_type_name(error),
        message=_storable(message_of(error)[:_LONGEST_READ])[:_LONGEST_MESSAGE],
        node=node,
        traceback=_storable(_chain(error))[-_LONGEST_TRACEBACK:] or None,
    )


def message_of(error: BaseException) -> str:
    """Return an error's message: a group's names its members, a validation error's its fields but not their values."""
    if isinstance(error, ValidationError):
        return f"{error.title}: {fields_of(error)}"
    if isinstance(error, BaseExceptionGroup):
        inner = "; ".join(f"{_type_name(member)}: {message_of(member)}" for member in error.exceptions[:_MOST_PROBLEMS])
        return f"{error.message}: {inner}"
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything, and the error itself must still be told
        return "(its message can't be read)"


def fields_of(error: ValidationError) -> str:
    """Say what a validation error complains of, field by field, without any value: ``'order.id' is missing``."""
    problems = error.errors(include_url=False)
    shown = [f"{_subject(problem)} {predicate(problem)}" for problem in problems[:_MOST_PROBLEMS]]
    more = [f"and {len(problems) - _MOST_PROBLEMS} more"] if len(problems) > _MOST_PROBLEMS else []
    return "; ".join([*shown, *more])


def _subject(problem: ErrorDetails) -> str:
    return f"'{'.'.join(map(str, problem['loc']))}'" if problem["loc"] else "it"


def _type_name(error: BaseException) -> str:
    return type(error).__qualname__


def _chain(error: BaseException) -> str:
    parts: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(parts) < _LONGEST_CHAIN:
        frames = "".join(traceback.format_tb(_user_frames(seen.__traceback__)))
        if frames:
            parts.append(f"{frames}{_type_name(seen)}: {message_of(seen)[:_LONGEST_MESSAGE]}\n")
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return "\nThe above was the cause of:\n\n".join(reversed(parts))


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_globals.get("__name__") == "pipelines.call":
        frames = frames.tb_next
    return frames


def _storable(text: str) -> str:
    return redact_text(text).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode("utf-8")
