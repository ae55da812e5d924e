"""PromQL over the catalogue: a metric that isn't in it, a label that a metric lacks or a bare counter can't be "
"written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from observability.metrics import Metrics, catalogue
from observability.metrics.families import Declaration

_OPERATORS: Final = ("=~", "!~", "!=")
_ALWAYS: Final = ("job", "instance", "le")
_FILTERS: Final = {"pipeline": "$pipeline", "queue": "$queue"}
"""Labels by which a board's reader chooses."""
_OF_SLOTS: Final = {"queue": "(.+,)?($queue)(,.+)?"}
"""A worker that consumes several queues lists them."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A metric that is not of our making: Prometheus's own, or those that its client library adds to each process."""

    name: str
    kind: Literal["counter", "gauge"]
    label_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a recording rule makes; it has the labels that it was made with, and neither job nor instance."""

    name: str
    label_names: tuple[str, ...]


Metric: TypeAlias = Declaration[...] | Foreign
Source: TypeAlias = Metric | Rule

UP: Final = Foreign("up", "gauge")
SCRAPE_SECONDS: Final = Foreign("scrape_duration_seconds", "gauge")
SCRAPE_SERIES: Final = Foreign("scrape_samples_post_metric_relabeling", "gauge")
CPU_SECONDS: Final = Foreign("process_cpu_seconds_total", "counter")
MEMORY: Final = Foreign("process_resident_memory_bytes", "gauge")
OPEN_FILES: Final = Foreign("process_open_fds", "gauge")
MOST_FILES: Final = Foreign("process_max_fds", "gauge")
STARTED: Final = Foreign("process_start_time_seconds", "gauge")
FOREIGN: Final = (UP, SCRAPE_SECONDS, SCRAPE_SERIES, CPU_SECONDS, MEMORY, OPEN_FILES, MOST_FILES, STARTED)

WINDOWS: Final = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
ERRORS: Final = {window: Rule(f"throughline:slo_errors:ratio_rate{window}", ("sli", "pipeline")) for window in WINDOWS}
BURNS: Final = {window: Rule(f"throughline:slo_burn:ratio_rate{window}", ("sli", "pipeline")) for window in WINDOWS}
BUDGET: Final = Rule("throughline:slo_budget:ratio", ("sli", "pipeline"))
RULES: Final = (*ERRORS.values(), *BURNS.values(), BUDGET)

_AWAITED: Final = Foreign("throughline_slo_events_total", "counter", ("sli", "pipeline", "good"))
SLO_EVENTS: Final[Metric] = next((item for item in catalogue if item.name == _AWAITED.name), _AWAITED)


def select(source: Source, /, *, suffix: str = "", **matchers: str) -> str:
    """Return a selector for the board's job and instance, and its pipeline and queue where the metric has them.

    A matcher's value may begin with its operator: ``outcome="!=succeeded"``; a bare one must be equal.

    Raises:
        ValueError: the metric has no such label.

    """
    unknown = matchers.keys() - set(source.label_names)
    if unknown:
        raise ValueError(f"{source.name} has no label {', '.join(sorted(unknown))}")
    filters = _FILTERS | _OF_SLOTS if source is Metrics.worker_slots else _FILTERS
    chosen = {name: f"=~{value}" for name, value in filters.items() if name in source.label_names}
    where = {} if isinstance(source, Rule) else {"job": "=~$job", "instance": "=~$instance"}
    listed = [_matcher(name, value) for name, value in (where | chosen | matchers).items()]
    return f"{source.name}{suffix}{{{', '.join(listed)}}}"


def rate(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return what a counter, or a histogram's count, rises by in a second, summed up ``by`` labels."""
    return f"sum{_by(metric, by)} (rate({select(metric, suffix=_counted(metric), **matchers)}[$__rate_interval]))"


def increase(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return by how much a counter rose in the time that the board shows."""
    return f"sum{_by(metric, by)} (increase({select(metric, suffix=_counted(metric), **matchers)}[$__range]))"


def highest_rate(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return the rate of a counter that every relay reads off the same store."""
    return f"max{_by(metric, by)} (rate({select(metric, suffix=_counted(metric), **matchers)}[$__rate_interval]))"


def buckets(metric: Metric, /, **matchers: str) -> str:
    """Return a histogram's buckets for a heatmap."""
    return f"sum by (le) (rate({select(metric, suffix=_of(metric, '_bucket'), **matchers)}[$__rate_interval]))"


def quantile(share: float, metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return the value under which ``share`` of a histogram's observations are."""
    selector = select(metric, suffix=_of(metric, "_bucket"), **matchers)
    return f"histogram_quantile({share:g}, sum{_by(metric, ('le', *by))} (rate({selector}[$__rate_interval])))"


def mean(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return the mean of a histogram's observations."""
    total = select(metric, suffix=_of(metric, "_sum"), **matchers)
    return f"sum{_by(metric, by)} (rate({total}[$__rate_interval])) / {rate(metric, by=by, **matchers)}"


def highest(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return a gauge that several processes export alike: each relay tells of the same queues and stores."""
    return f"max{_by(metric, by)} ({_gauge(metric, matchers)})"


def lowest(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return the lowest of what several processes export."""
    return f"min{_by(metric, by)} ({_gauge(metric, matchers)})"


def total(metric: Metric, /, *, by: Sequence[str] = (), **matchers: str) -> str:
    """Return the sum of a gauge of which each process has its own share."""
    return f"sum{_by(metric, by)} ({_gauge(metric, matchers)})"


def or_zero(expression: str) -> str:
    """Return 0 where there is no series: a counter of what has never happened has none."""
    return f"({expression}) or vector(0)"


def _gauge(metric: Metric, matchers: dict[str, str]) -> str:
    if metric.kind != "gauge":
        raise ValueError(f"{metric.name} is a {metric.kind}: only its rate says something")
    return select(metric, **matchers)


def _counted(metric: Metric) -> str:
    if metric.kind == "gauge":
        raise ValueError(f"{metric.name} is a gauge and has no rate")
    return "_count" if metric.kind == "histogram" else ""


def _of(metric: Metric, suffix: str) -> str:
    if metric.kind != "histogram":
        raise ValueError(f"{metric.name} is no histogram")
    return suffix


def _by(metric: Metric, labels: Sequence[str]) -> str:
    unknown = set(labels) - {*metric.label_names, *_ALWAYS}
    if unknown:
        raise ValueError(f"{metric.name} has no label {', '.join(sorted(unknown))}")
    return f" by ({', '.join(labels)})" if labels else ""


def _matcher(name: str, value: str) -> str:
    operator = next((one for one in _OPERATORS if value.startswith(one)), "")
    return f'{name}{operator or "="}"{value.removeprefix(operator)}"'
