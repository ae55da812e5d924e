from dataclasses import dataclass
from datetime import datetime
from typing import Any

from throughline.samples import Sample


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What came of one sample: ``event`` is the API's story of it once it is known, ``refusal`` why it wasn't taken."""

    sample: Sample
    event_id: str | None = None
    event: dict[str, Any] | None = None
    refusal: str | None = None

    @property
    def status(self) -> str:
        """The event's status; ``refused`` when the API didn't take it."""
        if self.refusal is not None:
            return "refused"
        return str(self.event["status"]) if self.event else "queued"

    @property
    def pipelines(self) -> str:
        """The pipelines that ran, and the last node that succeeded in each."""
        runs = self.event["runs"] if self.event else ()
        return ", ".join(run["pipeline"] for run in runs)

    @property
    def seconds(self) -> float | None:
        """From received until the last run ended."""
        ends = [run["finished_at"] for run in self.event["runs"]] if self.event else []
        if not self.event or not ends or None in ends:
            return None
        received = datetime.fromisoformat(self.event["received_at"])
        return max((datetime.fromisoformat(end) - received).total_seconds() for end in ends)

    @property
    def problem(self) -> str | None:
        """Say what is not as it should be: not taken, not succeeded, or not by the expected pipelines and nodes."""
        if self.refusal is not None:
            return self.refusal
        if self.status != "succeeded":
            return f"ended as {self.status}"
        for pipeline, node in self.sample.expect.items():
            if node not in self._done_nodes(pipeline):
                return f"{pipeline} was to reach {node}"
        return None

    def _done_nodes(self, pipeline: str) -> set[str]:
        runs = [run for run in self.event["runs"] if run["pipeline"] == pipeline] if self.event else []
        return {node["node"] for run in runs for node in run["nodes"] if node["status"] == "succeeded"}
