import random
import threading
from typing import Final

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

_BOTH: Final = 24
_NONE: Final = bytes(8)
"""No id; what holds it anywhere is drawn again, which happens to nobody."""


class SpanIds(RandomIdGenerator):
    """Makes random ids, except for a span whose id was decided and stored before it began."""

    def __init__(self) -> None:
        self._decided = threading.local()

    def decide(self, span_id: str | None) -> None:
        """Give the next span of this thread this id; None takes it back."""
        self._decided.span_id = int(span_id, 16) if span_id else None

    def generate_span_id(self) -> int:
        """See ``IdGenerator.generate_span_id``."""
        decided: int | None = getattr(self._decided, "span_id", None)
        return decided or super().generate_span_id()

    def draw(self, count: int) -> list[bytes]:
        """Make ids for so many spans that begin a trace: 16 bytes of a trace's and 8 of the span's, in one."""
        drawn = random.randbytes(_BOTH * count)  # noqa: S311 - ids, no secrets
        if _NONE in drawn:
            return self.draw(count)
        return [drawn[at : at + _BOTH] for at in range(0, _BOTH * count, _BOTH)]
