import re
from dataclasses import dataclass
from typing import Final

_UNITS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_TEXT: Final = re.compile(r"(\d+)(ms|s|m|h|d)")


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Multiplies every window and ``for`` of the rules by ``factor``, so that a test need not wait for days."""

    factor: float = 1.0

    def span(self, nominal: str) -> str:
        """Return ``nominal`` (``5m``) scaled, as PromQL writes it; at least a millisecond."""
        scaled = max(round(_milliseconds(nominal) * self.factor), 1)
        unit = next(unit for unit, size in _UNITS.items() if scaled % size == 0)
        return f"{scaled // _UNITS[unit]}{unit}"

    def seconds(self, nominal: str, *, at_least: float = 0.0) -> float:
        """Return ``nominal`` scaled, in seconds; ``at_least`` is for what the system itself takes."""
        return max(_milliseconds(nominal) * self.factor / 1000, at_least)


def _milliseconds(nominal: str) -> int:
    found = _TEXT.fullmatch(nominal)
    if found is None:
        raise ValueError(f"{nominal!r} is no span such as 5m")
    return int(found[1]) * _UNITS[found[2]]
