"""Shifts this process's wall clock by ``CHAOS_CLOCK_SHIFT`` seconds; monotonic clocks, ``clock_gettime`` stay right."""

import ctypes
import datetime as dt
import gc
import os
import time
from typing import Any

_time, _time_ns = time.time, time.time_ns
_now, _utcnow = dt.datetime.now, dt.datetime.utcnow


def shift(seconds: float) -> None:
    """Set the wall clock of this process ``seconds`` ahead; behind, if they are negative."""
    nanoseconds, delta = int(seconds * 1e9), dt.timedelta(seconds=seconds)

    def now(_: type, tz: dt.tzinfo | None = None) -> dt.datetime:
        return _now(tz) + delta

    def utcnow(_: type) -> dt.datetime:
        return _utcnow() + delta

    time.time = lambda: _time() + seconds
    time.time_ns = lambda: _time_ns() + nanoseconds
    _set(dt.datetime, now=classmethod(now), utcnow=classmethod(utcnow))


def _set(cls: type, **methods: Any) -> None:
    """Give methods to a class written in C: a class of our own instead would not be what C code makes."""
    (attributes,) = gc.get_referents(cls.__dict__)
    attributes.update(methods)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))


if _SHIFT := os.environ.get("CHAOS_CLOCK_SHIFT"):
    shift(float(_SHIFT))
