"""What is measured, one section a module; each notes its figures in the bench's results."""

from benchmarks.sections.drain import drain
from benchmarks.sections.generator import generator
from benchmarks.sections.idle import idle
from benchmarks.sections.ingest import ingest
from benchmarks.sections.round_trips import round_trips
from benchmarks.sections.sustained import sustained
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
}

__all__ = ["SECTIONS"]
