"""Recording rules and alerts as code: what Prometheus is to watch, made from what pipelines and settings promise."""

from observability.alerts.plan import Links, Objective, Plan
from observability.alerts.rendering import FILES, render, render_files
from observability.alerts.rule import Alert, Recording, Rule, Severity
from observability.alerts.timing import TimeScale

__all__ = [
    "FILES",
    "Alert",
    "Links",
    "Objective",
    "Plan",
    "Recording",
    "Rule",
    "Severity",
    "TimeScale",
    "render",
    "render_files",
]
