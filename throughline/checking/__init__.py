"""Looking for mistakes in modules of pipelines, as many at once as can be found."""

from throughline.checking.check import Report, check_modules
from throughline.checking.finding import Finding, Level

__all__ = ["Finding", "Level", "Report", "check_modules"]
