from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar


class HasTypes(Protocol):
    """Whatever takes event types."""

    @property
    def types(self) -> tuple[str, ...]:
        """Exact types and prefixes."""


T = TypeVar("T", bound=HasTypes)


class TypeTable(Generic[T]):
    """Finds who takes an event type, by exact type or by prefix (``github.*`` covers ``github.a`` and ``github.a.b``).

    Everything is worked out once. A lookup is one dict access for an exact type and one for each dot of another, and
    nothing is remembered of types that are asked for, so senders can't fill the memory.
    """

    def __init__(self, takers: Iterable[T]) -> None:
        every = tuple(takers)
        patterns = frozenset(pattern for taker in every for pattern in taker.types)
        self._found = {pattern: tuple(taker for taker in every if _takes(taker, pattern)) for pattern in patterns}
        self.patterns = patterns

    def find(self, event_type: str) -> tuple[T, ...]:
        """Return all that take ``event_type``, each once."""
        found = None if event_type.endswith("*") else self._found.get(event_type)
        end = len(event_type)
        while found is None and (end := event_type.rfind(".", 0, end)) > 0:
            found = self._found.get(event_type[: end + 1] + "*") if end + 1 < len(event_type) else None
        return found or ()


def _takes(taker: HasTypes, asked: str) -> bool:
    """Say whether a type, or every type under a prefix, goes to ``taker``."""
    return any(
        asked == pattern or (pattern.endswith(".*") and asked.startswith(pattern[:-1]) and asked != pattern[:-1])
        for pattern in taker.types
    )
