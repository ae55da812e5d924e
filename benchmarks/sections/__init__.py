"""What is measured, one section a module; each notes its figures in the bench's results."""

from benchmarks.sections.drain import drain
from benchmarks.sections.generator import generator
from benchmarks.sections.idle import idle
from benchmarks.sections.ingest import ingest
from benchmarks.sections.round_trips import round_trips
from benchmarks.sections.sustained import sustained
from benchmarks.sections.telemetry import telemetry
from benchmarks.sections.tuning import tuning
from benchmarks.sections.units import units
from benchmarks.sections.waiting import waiting

SECTIONS = {
    "generator": generator,
    "ingest": ingest,
    "drain": drain,
    "sustained": sustained,
    "idle": idle,
    "waiting": waiting,
    "round-trips": round_trips,
    "units": units,
    "telemetry": telemetry,
    "tuning": tuning,
}
_NOT_QUICK = frozenset({"telemetry"})
_ON_DEMAND = frozenset({"tuning"})


def usual(*, quick: bool) -> list[str]:
    """Return the sections that run when none is named."""
    left_out = _ON_DEMAND | _NOT_QUICK if quick else _ON_DEMAND
    return [name for name in SECTIONS if name not in left_out]


__all__ = ["SECTIONS", "usual"]
