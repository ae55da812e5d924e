from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """``warning``: it works, and somebody should know. ``bad``: it doesn't work, or not as promised."""

    GOOD = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at; ``mend`` says what to do where the verdict isn't ``ok``."""

    subject: str
    verdict: Verdict
    said: str
    mend: str = ""
