"""What stands in the way of a working system, each finding with its mend."""

from throughline.doctor.finding import Finding, Verdict
from throughline.doctor.look import examine

__all__ = ["Finding", "Verdict", "examine"]
