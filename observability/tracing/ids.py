import threading

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator


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
