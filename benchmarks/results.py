from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any


class Better(StrEnum):
    """Which way a figure improves."""

    MORE = "more"
    LESS = "less"


@dataclass(slots=True, kw_only=True)
class Figure:
    """One thing that was measured, once or several times."""

    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def spread(self) -> float:
        """How far the values lie apart, as a share of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio of two figures (or one figure, over nothing), what it should be, and what it must be."""

    title: str
    figure: str
    over: str | None
    aim: float
    bound: float
    better: Better = Better.MORE
    unit: str = "x"


def _ratios(way: str, *, over: str, aim: float, bound: float) -> Iterator[Goal]:
    for what in ("ingest", "drain"):
        yield Goal(
            title=f"{what}: {way} / {over}", figure=f"{what}, {way}", over=f"{what}, {over}", aim=aim, bound=bound
        )


GOALS = (
    Goal(title="sustained / plain design", figure="sustained", over="plain sustained", aim=10, bound=5),
    Goal(title="single-POST ingest at 32 / plain design", figure="ingest 32", over="plain ingest 32", aim=14, bound=9),
    Goal(
        title="single-POST ingest at 32 / bare FastAPI", figure="ingest 32", over="bare FastAPI 32", aim=0.45, bound=0.3
    ),
    Goal(title="batch ingest / single-POST ingest", figure="ingest batch 100", over="ingest 32", aim=10, bound=5),
    Goal(title="drain / bare Celery", figure="drain", over="bare Celery consume", aim=3, bound=1.5),
    Goal(
        title="idle p50 / plain design",
        figure="idle p50",
        over="plain idle p50",
        aim=1.0,
        bound=1.6,
        better=Better.LESS,
    ),
    Goal(
        title="2,000 events that wait 1 s",
        figure="waiting total",
        over=None,
        aim=4,
        bound=8,
        better=Better.LESS,
        unit="s",
    ),
    Goal(
        title="memory of that worker",
        figure="waiting peak memory",
        over=None,
        aim=300,
        bound=500,
        better=Better.LESS,
        unit="MB",
    ),
    Goal(
        title="drain with much due / with little",
        figure="drain with much due",
        over="drain with little due",
        aim=0.95,
        bound=0.85,
    ),
    Goal(
        title="ingest with history / without",
        figure="ingest with history",
        over="ingest without history",
        aim=0.95,
        bound=0.85,
    ),
    *_ratios("traces on", over="traces off", aim=0.75, bound=0.6),
    *_ratios("traces 10 %", over="traces off", aim=0.9, bound=0.6),
    *_ratios("collector dead", over="traces on", aim=0.9, bound=0.8),
    *_ratios("collector slow", over="traces on", aim=0.9, bound=0.8),
    *(
        Goal(
            title=f"idle p50: {way} / traces on",
            figure=f"idle p50, {way}",
            over="idle p50, traces on",
            aim=1.1,
            bound=1.5,
            better=Better.LESS,
        )
        for way in ("collector dead", "collector slow")
    ),
)
"""What the project set out to reach."""


class Verdict(StrEnum):
    """How a ratio stands to its goal."""

    AIM = "aim"
    BOUND = "above the floor"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A goal and what came of it."""

    goal: Goal
    value: float

    @property
    def verdict(self) -> Verdict:
        """Compare."""
        sign = 1 if self.goal.better is Better.MORE else -1
        if sign * self.value >= sign * self.goal.aim:
            return Verdict.AIM
        return Verdict.BOUND if sign * self.value >= sign * self.goal.bound else Verdict.MISSED


class Results:
    """Everything that one run measured."""

    def __init__(self) -> None:
        self.figures: dict[str, Figure] = {}
        self.costs: dict[str, dict[str, float]] = {}
        self.facts: dict[str, Any] = {}
        self.complaints: list[str] = []
        self.units: dict[str, dict[str, list[float]]] = {}
        self.processes: dict[str, dict[str, float]] = {}
        self.comparisons: dict[str, dict[str, float]] = {}

    def add(self, name: str, value: float, unit: str) -> None:
        """Note one value of a figure."""
        self.figures.setdefault(name, Figure(unit=unit)).values.append(value)

    def cost(self, what: str, used: dict[str, float], *, events: int) -> None:
        """Note CPU seconds by process as microseconds an event; processes of one kind are added up."""
        kinds: dict[str, float] = {}
        for name, seconds in used.items():
            kind = name.rstrip("-0123456789")
            kinds[kind] = kinds.get(kind, 0.0) + seconds / events * 1e6
        self.costs[what] = kinds

    def compare(self, what: str, ratios: dict[str, float]) -> None:
        """Note how something tried stands to what is usual, figure by figure."""
        self.comparisons[what] = ratios

    def complain(self, text: str) -> None:
        """Note what makes the run worthless."""
        self.complaints.append(text)

    def reached(self) -> Iterator[Reached]:
        """Compare with every goal whose figures are there."""
        for goal in GOALS:
            above = self.figures.get(goal.figure)
            below = self.figures.get(goal.over) if goal.over else None
            if above is not None and (below is not None or goal.over is None):
                yield Reached(goal=goal, value=above.median / (below.median if below else 1.0))

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "figures": {
                name: {"unit": one.unit, "median": one.median, "values": one.values}
                for name, one in self.figures.items()
            },
            "ratios": [
                {**asdict(one.goal), "value": one.value, "verdict": one.verdict.value} for one in self.reached()
            ],
            "cpu_us_per_event": self.costs,
            "units": self.units,
            "processes": self.processes,
            "comparisons": self.comparisons,
            "facts": self.facts,
            "complaints": self.complaints,
        }
