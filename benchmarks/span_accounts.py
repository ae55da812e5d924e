"""What became of spans, as the processes that made them tell."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_EXPORTED: Final = "throughline_spans_exported_total"
_DROPPED: Final = "throughline_spans_dropped_total"
_DEVIATIONS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanAccount:
    """At least how many spans there were (``expected``), how many a collector took, and what was dropped, by why."""

    expected: int
    exported: int
    dropped: dict[str, int]

    @property
    def told(self) -> int:
        """How many spans the processes account for."""
        return self.exported + sum(self.dropped.values())

    @property
    def untold(self) -> int:
        """How many, at least, are still under way or were lost without a word."""
        return max(0, self.expected - self.told)


def account_of(pages: Iterable[str], *, expected: int) -> SpanAccount:
    """Read the ``/metrics`` of all processes that make the expected spans."""
    exported, dropped = 0, Counter[str]()
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name == _EXPORTED:
                    exported += int(sample.value)
                elif sample.name == _DROPPED and sample.value:
                    dropped[sample.labels["reason"]] += int(sample.value)
    return SpanAccount(expected=expected, exported=exported, dropped=dict(dropped))


def plausible_traces(events: int, share: float) -> tuple[float, float]:
    """Return between how many traces of so many are sampled, but once in a million times."""
    mean, deviation = events * share, math.sqrt(events * share * (1 - share))
    return mean - _DEVIATIONS * deviation, mean + _DEVIATIONS * deviation
