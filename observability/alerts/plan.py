from dataclasses import dataclass, field
from typing import Final

from observability.alerts.timing import TimeScale
from observability.metrics import Sli

RUNBOOK: Final = "https://throughline.example/docs/runbook.md"
DASHBOARDS: Final = "http://localhost:3000"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What is promised of one pipeline's runs, or of taking events in, where ``pipeline`` is empty.

    ``share`` of what is counted is to be good; ``within`` are the seconds that make it so, None where time tells
    nothing. ``queue`` is where the pipeline's runs wait.
    """

    sli: Sli
    share: float
    within: float | None = None
    pipeline: str = ""
    queue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Where the runbook and the dashboards are opened: a page, and Grafana's address."""

    runbook: str = RUNBOOK
    dashboards: str = DASHBOARDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What rules are made for. ``queues`` are all that work may wait in, also those of which nothing is promised."""

    objectives: tuple[Objective, ...]
    queues: tuple[str, ...]
    scale: TimeScale = field(default_factory=TimeScale)
    links: Links = field(default_factory=Links)

    def queue_targets(self) -> dict[str, float]:
        """Return the shortest wait that is promised in each queue: its runs are claimed in the order they came."""
        targets: dict[str, float] = {}
        for one in self.objectives:
            if one.sli is Sli.QUEUEING and one.queue is not None and one.within is not None:
                targets[one.queue] = min(one.within, targets.get(one.queue, one.within))
        return targets
