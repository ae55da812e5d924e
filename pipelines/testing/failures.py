import builtins
from typing import Any

import events
from events import Permanent, RetryAfter, Transient
from pipelines import errors, retry


def failure(type: str, message: str = "", *, retried: bool = False) -> BaseException:  # noqa: A002 - the stored word
    """Make an exception that is recorded as one of this ``type``, a class's name, with this ``message``.

    It is an instance of Python's or Throughline's own class of that name, where there is one. One of any other name is
    tried again if ``retried`` says so, as ``Transient`` is, and ends the run otherwise, as ``Permanent`` does.
    """
    if type == "RetryAfter" and (after := _seconds(message)) is not None:
        return RetryAfter(after)
    base = _known(type) or (Transient if retried else Permanent)
    try:
        return _made(type, base, message)
    except TypeError:
        return _made(type, Transient if retried else Permanent, message)


def _known(name: str) -> type[BaseException] | None:
    for module in (events, errors, retry, builtins):
        found: Any = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, BaseException) and found is not RetryAfter:
            return found
    return None


def _made(name: str, base: type[BaseException], message: str) -> BaseException:
    namespace = {"__init__": lambda _: None, "__str__": lambda _: message, "__qualname__": name, "__module__": __name__}
    made: BaseException = type(name.rpartition(".")[2], (base,), namespace)()
    return made


def _seconds(message: str) -> float | None:
    words = message.split()
    try:
        return float(words[3]) if words[:3] == ["try", "again", "in"] else None
    except (IndexError, ValueError):
        return None
