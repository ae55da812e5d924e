"""Metrics whose values are read off something else as they are: a series is there only while its reading is."""

import threading
from collections.abc import Callable, Iterable
from typing import Any, Generic, ParamSpec, overload

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from observability.metrics.families import Declaration

P = ParamSpec("P")


class _Readings(Collector):
    """The readings of one metric, by their labels' values."""

    def __init__(self, declaration: Declaration[...], family: Callable[..., Any]) -> None:
        self._declaration = declaration
        self._family = family
        self._values: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def set(self, labels: tuple[str, ...], value: float) -> None:
        with self._lock:
            self._values[labels] = value

    def clear(self) -> None:
        with self._lock:
            self._values = {}

    def describe(self) -> Iterable[Metric]:
        yield self._empty()

    def collect(self) -> Iterable[Metric]:
        metric = self._empty()
        with self._lock:
            values = list(self._values.items())
        for labels, value in values:
            metric.add_metric(labels, value)
        yield metric

    def _empty(self) -> Any:
        return self._family(self._declaration.name, self._declaration.description, labels=self._declaration.label_names)


class ReadingChild:
    """One series of readings."""

    __slots__ = ("_labels", "_readings")

    def __init__(self, readings: _Readings, labels: tuple[str, ...]) -> None:
        self._readings = readings
        self._labels = labels

    def set(self, value: float) -> None:
        """Show ``value``, which for a counter is its absolute one: lower than before means that it began anew."""
        self._readings.set(self._labels, value)


class ReadingFamily(Generic[P]):
    """A live metric of readings."""

    def __init__(self, labels: Callable[P, tuple[str, ...]], readings: _Readings) -> None:
        self._values = labels
        self._readings = readings

    def labels(self, *args: P.args, **kwargs: P.kwargs) -> ReadingChild:
        """Return the series of these labels; it is shown from its first value on."""
        return ReadingChild(self._readings, self._values(*args, **kwargs))

    def clear(self) -> None:
        """Show no series until one is set again: what can't be read is not reported with its last value."""
        self._readings.clear()


class _Reading(Declaration[P]):
    def _created(self, registry: CollectorRegistry, family: Callable[..., Any]) -> ReadingFamily[P]:
        readings = _Readings(self, family)
        registry.register(readings)
        return ReadingFamily(self.labels, readings)


class GaugeReading(_Reading[P]):
    """Declares a gauge that is read elsewhere."""

    kind = "gauge"

    def create(self, registry: CollectorRegistry) -> ReadingFamily[P]:
        """See ``Declaration.create``."""
        return self._created(registry, GaugeMetricFamily)

    @overload
    def __get__(self, instance: None, owner: type) -> "GaugeReading[P]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> ReadingFamily[P]: ...
    def __get__(self, instance: object | None, owner: type) -> "GaugeReading[P] | ReadingFamily[P]":
        return self


class CounterReading(_Reading[P]):
    """Declares a counter that is kept elsewhere; its name ends in ``_total``."""

    kind = "counter"

    def create(self, registry: CollectorRegistry) -> ReadingFamily[P]:
        """See ``Declaration.create``."""
        return self._created(registry, CounterMetricFamily)

    @overload
    def __get__(self, instance: None, owner: type) -> "CounterReading[P]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> ReadingFamily[P]: ...
    def __get__(self, instance: object | None, owner: type) -> "CounterReading[P] | ReadingFamily[P]":
        return self
