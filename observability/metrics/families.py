"""Typed metrics over prometheus_client: a wrong label name, a missing one or one too many fails the type check.

A metric is declared as an attribute of a class. Its labels are the parameters of a function, so that names and types
are written once and checkers see them; on an instance the attribute is the live family.
"""

import inspect
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, Generic, ParamSpec, overload

import prometheus_client
from opentelemetry import trace
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Exemplar, Sample

P = ParamSpec("P")

_MAX_CHILDREN: Final = 10_000
_FOLD: Final = 512


def no_labels() -> tuple[str, ...]:
    """Label a metric that has no labels."""
    return ()


class CounterChild:
    """One series of a counter."""

    __slots__ = ("_inc",)

    def __init__(self, metric: prometheus_client.Counter) -> None:
        self._inc = metric.inc

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``."""
        self._inc(amount)


class GaugeChild:
    """One series of a gauge."""

    __slots__ = ("_metric",)

    def __init__(self, metric: prometheus_client.Gauge) -> None:
        self._metric = metric

    def set(self, value: float) -> None:
        """Set the value."""
        self._metric.set(value)

    def inc(self, amount: float = 1) -> None:
        """Add ``amount``, which may be negative."""
        self._metric.inc(amount)


class _Histogram(prometheus_client.Histogram):
    """Takes values as cheaply as they can be taken, and counts them in bulk: when many wait, and before it is read."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self._waiting: deque[tuple[float, int]] = deque()
        self._folding = threading.Lock()

    def note(self, value: float, trace_id: int) -> None:
        """Take a value, and the id of its trace, which is 0 if there is none to show."""
        self._waiting.append((value, trace_id))
        if len(self._waiting) >= _FOLD:
            self._fold()

    def _fold(self) -> None:
        with self._folding:
            counts, total, traces = [0] * len(self._buckets), 0.0, dict[int, tuple[float, int]]()
            for _ in range(len(self._waiting)):
                value, trace_id = self._waiting.popleft()
                bucket = bisect_left(self._upper_bounds, value)
                counts[bucket] += 1
                total += value
                if trace_id:
                    traces[bucket] = (value, trace_id)
            self._sum.inc(total)
            for bucket, count in enumerate(counts):
                if count:
                    self._buckets[bucket].inc(count)
            for bucket, (value, trace_id) in traces.items():
                self._buckets[bucket].set_exemplar(Exemplar({"trace_id": f"{trace_id:032x}"}, value, time.time()))

    def _child_samples(self) -> Iterable[Sample]:
        self._fold()
        return super()._child_samples()


class HistogramChild:
    """One series of a histogram."""

    __slots__ = ("_note",)

    def __init__(self, metric: _Histogram) -> None:
        self._note = metric.note

    def observe(self, value: float, *, trace_id: str | None = None) -> None:
        """Count ``value``, in the metric's unit.

        The last value in each bucket has an exemplar: ``trace_id``, or else the current span's trace if that is
        sampled, since an exemplar that leads to a trace nobody kept is worse than none.
        """
        self._note(value, int(trace_id, 16) if trace_id else _sampled_trace_id())


def _sampled_trace_id() -> int:
    context = trace.get_current_span().get_span_context()
    return context.trace_id if context.trace_flags & trace.TraceFlags.SAMPLED else 0


class _Family(Generic[P]):
    """What all live families share: the labelled children, each made once."""

    def __init__(self, labels: Callable[P, tuple[str, ...]], metric: Any) -> None:
        self._values = labels
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {}

    def _child(self, wrap: Callable[[Any], Any], *args: P.args, **kwargs: P.kwargs) -> Any:
        values = self._values(*args, **kwargs)
        child = self._children.get(values)
        if child is None:
            child = wrap(self._metric.labels(*values) if values else self._metric)
            if len(self._children) < _MAX_CHILDREN:
                self._children[values] = child
        return child


class CounterFamily(_Family[P]):
    """A live counter."""

    def labels(self, *args: P.args, **kwargs: P.kwargs) -> CounterChild:
        """Return the series of these labels."""
        child: CounterChild = self._child(CounterChild, *args, **kwargs)
        return child


class GaugeFamily(_Family[P]):
    """A live gauge."""

    def labels(self, *args: P.args, **kwargs: P.kwargs) -> GaugeChild:
        """Return the series of these labels."""
        child: GaugeChild = self._child(GaugeChild, *args, **kwargs)
        return child

    def clear(self) -> None:
        """Forget every series, so that what is gone is not reported with its last value for ever."""
        self._children.clear()
        self._metric.clear()


class HistogramFamily(_Family[P]):
    """A live histogram."""

    def labels(self, *args: P.args, **kwargs: P.kwargs) -> HistogramChild:
        """Return the series of these labels."""
        child: HistogramChild = self._child(HistogramChild, *args, **kwargs)
        return child


class Declaration(Generic[P]):
    """A metric as the catalogue has it."""

    kind: ClassVar[str]

    def __init__(self, name: str, description: str, labels: Callable[P, tuple[str, ...]]) -> None:
        self.name = name
        self.description = description
        self.labels = labels
        self.label_names = tuple(inspect.signature(labels).parameters)
        self.buckets: tuple[float, ...] = ()

    def create(self, registry: CollectorRegistry) -> Any:
        """Register the metric and return its live family."""
        raise NotImplementedError  # each kind below makes its own; a declaration of no kind can't be registered


class Counter(Declaration[P]):
    """Declares a counter; its name ends in ``_total``."""

    kind = "counter"

    def create(self, registry: CollectorRegistry) -> CounterFamily[P]:
        """See ``Declaration.create``."""
        metric = prometheus_client.Counter(self.name, self.description, self.label_names, registry=registry)
        return CounterFamily(self.labels, metric)

    @overload
    def __get__(self, instance: None, owner: type) -> "Counter[P]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> CounterFamily[P]: ...
    def __get__(self, instance: object | None, owner: type) -> "Counter[P] | CounterFamily[P]":
        return self


class Gauge(Declaration[P]):
    """Declares a gauge."""

    kind = "gauge"

    def create(self, registry: CollectorRegistry) -> GaugeFamily[P]:
        """See ``Declaration.create``."""
        metric = prometheus_client.Gauge(self.name, self.description, self.label_names, registry=registry)
        return GaugeFamily(self.labels, metric)

    @overload
    def __get__(self, instance: None, owner: type) -> "Gauge[P]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> GaugeFamily[P]: ...
    def __get__(self, instance: object | None, owner: type) -> "Gauge[P] | GaugeFamily[P]":
        return self


class Histogram(Declaration[P]):
    """Declares a histogram with its upper bounds."""

    kind = "histogram"

    def __init__(
        self, name: str, description: str, labels: Callable[P, tuple[str, ...]], *, buckets: tuple[float, ...]
    ) -> None:
        super().__init__(name, description, labels)
        self.buckets = buckets

    def create(self, registry: CollectorRegistry) -> HistogramFamily[P]:
        """See ``Declaration.create``."""
        metric = _Histogram(self.name, self.description, self.label_names, registry=registry, buckets=self.buckets)
        return HistogramFamily(self.labels, metric)

    @overload
    def __get__(self, instance: None, owner: type) -> "Histogram[P]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> HistogramFamily[P]: ...
    def __get__(self, instance: object | None, owner: type) -> "Histogram[P] | HistogramFamily[P]":
        return self
