"""The settings that one might want to tune, the values that are tried, and how each stands to the default."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from settings import Settings

_TIMES: Final = (0.5, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting by its group, whose process it is of, and name."""

    group: str
    name: str

    @property
    def title(self) -> str:
        """What people read, and the end of the variable's name."""
        return f"{self.group}.{self.name}"

    @property
    def default(self) -> int:
        """What it is when nobody says otherwise."""
        return int(getattr(getattr(Settings.model_construct(), self.group), self.name))

    def environment(self, value: int) -> dict[str, str]:
        """Return the variable that sets it."""
        return {f"THROUGHLINE_{self.group}_{self.name}".upper(): str(value)}

    def values(self) -> tuple[int, ...]:
        """Return the default and what is compared with it: half of it, unless that is none, twice and four times."""
        others = (int(self.default * times) for times in _TIMES)
        return (self.default, *(value for value in others if value))


SETTINGS: Final = (
    Setting("worker", "prefetch_multiplier"),
    Setting("worker", "concurrency"),
    Setting("worker", "slots"),
    Setting("relay", "message_max_runs"),
    Setting("relay", "take_max"),
    Setting("api", "flush_max_rows"),
)


def compare(measured: Mapping[int, Mapping[str, list[float]]], default: int) -> Iterator[tuple[int, dict[str, float]]]:
    """Yield, for each value of a setting, its medians' ratios to the default's."""
    base = {what: median(values) for what, values in measured[default].items()}
    for value, figures in sorted(measured.items()):
        yield value, {what: median(values) / base[what] for what, values in figures.items()}
