import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, TextIO

NORMAL: Final = "normal"


@dataclass(slots=True, kw_only=True)
class Sent:
    """One event as the client knows it: what was sent, in which phase, and everything that came back.

    ``steady``: it is of the even stream, not of a burst.
    """

    ce_id: str
    type: str
    data: dict[str, object]
    phase: str = NORMAL
    steady: bool = False
    event_id: str | None = None
    answers: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        """Whether a 202, or a 200 to a repetition, promised it."""
        return self.event_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request's answer: ``202``, ``503``, ``refused`` (never sent), ``broken`` or ``timeout`` (nobody knows).

    Anything else that was raised is named. ``at`` is when it came (epoch seconds), ``why`` what the client said of a
    broken one, ``away`` whether Redis was away; ``steady`` as in ``Sent``. ``delay`` are the seconds of it in which
    the client itself got no turn.
    """

    phase: str
    said: str
    seconds: float
    at: float = 0.0
    why: str = ""
    steady: bool = True
    away: bool = False
    delay: float = 0.0


class Ledger:
    """The client's own books, kept outside the platform: a line on disk for every answer."""

    def __init__(self, path: Path) -> None:
        self.sent: dict[str, Sent] = {}
        self.answers: list[Answer] = []
        self._file: TextIO = path.open("a", encoding="utf-8")

    def begin(self, sent: Sent) -> None:
        """Note an event before it is sent."""
        self.sent[sent.ce_id] = sent

    def answered(self, sent: Sent, answer: Answer, *, event_id: str | None) -> None:
        """Note what came back."""
        sent.answers.append(answer.said)
        sent.event_id = sent.event_id or event_id
        self.answers.append(answer)
        line = {"id": sent.ce_id, "event_id": event_id, **asdict(answer)}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def accepted(self) -> int:
        """How many events were promised."""
        return sum(sent.accepted for sent in tuple(self.sent.values()))

    def said(self, phase: str) -> Counter[str]:
        """Count the answers of a phase."""
        return Counter(answer.said for answer in tuple(self.answers) if answer.phase == phase)

    def latencies(self, *, away: bool) -> list[float]:
        """Return the seconds that 202s of the even stream took, while Redis was away or in peace, in order of size."""
        return sorted(
            answer.seconds
            for answer in tuple(self.answers)
            if answer.said == "202" and answer.steady and (answer.away if away else answer.phase == NORMAL)
        )

    def slowest_refusal(self) -> float:
        """Return how long the slowest 503 took, without what the client itself delayed it."""
        return max(
            (answer.seconds - answer.delay for answer in tuple(self.answers) if answer.said == "503"), default=0.0
        )


def quantile(ordered: list[float], share: float) -> float | None:
    """Return the value that ``share`` of the sorted values don't exceed."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None
