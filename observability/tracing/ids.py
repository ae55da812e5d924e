import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

_BOTH: Final = 24
_NONE: Final = bytes(8)
"""No id; what holds it anywhere is drawn again, which happens to nobody."""


class SpanIds(RandomIdGenerator):
    """Makes random ids, except for a span whose ids were decided before it began."""

    def __init__(self) -> None:
        self._decided = threading.local()

    def decide(self, span_id: str | None, *, trace_id: str | None = None) -> None:
        """Give this thread's next spans these ids, those of traces where a span begins one; None takes it back."""
        self._decided.span_id = int(span_id, 16) if span_id else None
        self._decided.trace_id = int(trace_id, 16) if trace_id else None

    @contextmanager
    def deciding(self, span_id: str | None, *, trace_id: str | None = None) -> Iterator[None]:
        """Decide inside this block, for the one span that begins in it."""
        self.decide(span_id, trace_id=trace_id)
        try:
            yield
        finally:
            self.decide(None)

    def generate_span_id(self) -> int:
        """See ``IdGenerator.generate_span_id``."""
        decided: int | None = getattr(self._decided, "span_id", None)
        return decided or super().generate_span_id()

    def generate_trace_id(self) -> int:
        """See ``IdGenerator.generate_trace_id``."""
        decided: int | None = getattr(self._decided, "trace_id", None)
        return decided or super().generate_trace_id()

    def draw(self, count: int) -> list[bytes]:
        """Make ids for so many spans that begin a trace: 16 bytes of a trace's and 8 of the span's, in one."""
        drawn = random.randbytes(_BOTH * count)  # noqa: S311 - ids, no secrets
        if _NONE in drawn:
            return self.draw(count)
        return [drawn[at : at + _BOTH] for at in range(0, _BOTH * count, _BOTH)]
