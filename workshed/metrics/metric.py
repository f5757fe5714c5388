"""Metric types; `prometheus_client` is imported where something can show what they measure."""

import contextlib
import importlib
import inspect
import logging
import os
import sys
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal

from workshed.settings import multiprocess_folder

Mode = Literal["livesum", "livemax", "livemin"]
"""How the values of all living processes that share a folder are combined."""

# From a quick job to one that takes half an hour.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

HISTOGRAM_PARTS = ("_upper_bounds", "_buckets", "_sum")
"""Attributes of a `prometheus_client` histogram."""

logger = logging.getLogger(__name__)

METRICS: list["Metric"] = []


class NullMetric:
    """Discards measurements while metrics are off."""

    def inc(self, amount: float) -> None:
        """Do nothing."""

    def set(self, value: float) -> None:
        """Do nothing."""

    def observe(self, amount: float) -> None:
        """Do nothing."""


@dataclass(eq=False)
class Metric:
    """A metric with its labels, each a closed set of values; a unit other than 1 ends its name."""

    kind: ClassVar[str] = ""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    namespace: str = field(default="workshed", kw_only=True)
    """The first word of its name; an application uses its own."""
    _metric: Any = None
    _children: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Register the metric."""
        METRICS.append(self)

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""
        return f"{self.namespace}_{self.name}"

    @property
    def unit(self) -> str:
        """The unit: `seconds`, or 1."""
        return "seconds" if self.name.endswith("_seconds") else "1"

    def record(self, method: str, number: float, values: tuple[str, ...]) -> None:
        """Record a measurement; never raises, because metrics must not disturb jobs."""
        try:
            getattr(self._child(values), method)(number)
        except Exception as err:  # noqa: BLE001 -- a full disk, for example
            disable_after_error(err)

    def record_many(self, method: str, numbers: list[float], values: tuple[str, ...]) -> None:
        """Record many measurements at once."""
        self.record(method, sum(numbers), values)

    def _child(self, values: tuple[str, ...]) -> Any:
        child = self._children.get(values)
        return self._resolve_child(values) if child is None else child

    def _resolve_child(self, values: tuple[str, ...]) -> Any:
        if not _state.is_on or not _is_exposed():
            return NULL_METRIC
        with _state.lock:
            if self._metric is None:
                self._metric = self._create(import_prometheus())
            made = self._metric.labels(*values) if self.labels else self._metric
            return self._children.setdefault(values, made)

    def _create(self, prometheus: Any) -> Any:
        raise NotImplementedError

    def collect(self) -> Iterable[Any]:
        """Return the measurements of this process."""
        metric = self._metric
        return [] if metric is None else metric.collect()

    def reset(self) -> None:
        """Start from zero."""
        self._metric = None
        self._children = {}


class Counter(Metric):
    """Counts how often something happened."""

    kind = "counter"

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""
        return f"{super().full_name}_total"

    def add(self, *values: str, amount: float = 1) -> None:
        """Add `amount`, for these label values."""
        self.record("inc", amount, values)

    def _create(self, prometheus: Any) -> Any:
        return prometheus.Counter(self.full_name, self.help, self.labels, registry=None)


@dataclass(eq=False)
class Gauge(Metric):
    """Shows a current value."""

    kind: ClassVar[str] = "gauge"
    mode: Mode = "livesum"

    def set(self, value: float, *values: str) -> None:
        """Set the current value, for these label values."""
        self.record("set", value, values)

    def _create(self, prometheus: Any) -> Any:
        return prometheus.Gauge(
            self.full_name, self.help, self.labels, registry=None, multiprocess_mode=self.mode
        )


@dataclass(eq=False)
class Histogram(Metric):
    """Measures how long something takes."""

    kind: ClassVar[str] = "histogram"
    buckets: tuple[float, ...] = BUCKETS_S

    def observe(self, seconds: float, *values: str) -> None:
        """Record a duration, for these label values."""
        self.record("observe", seconds, values)

    def record_many(self, method: str, numbers: list[float], values: tuple[str, ...]) -> None:
        """Record many durations at once; each bucket is written only once."""
        try:
            child = self._child(values)
            parts: list[Any] = [getattr(child, name, None) for name in HISTOGRAM_PARTS]
            if None in parts:  # a `NullMetric`, or a release with other internals
                for number in numbers:
                    getattr(child, method)(number)
                return
            bounds, buckets, total = parts
            total.inc(sum(numbers))
            for place, count in Tally(bisect_left(bounds, one) for one in numbers).items():
                buckets[place].inc(count)
        except Exception as err:  # noqa: BLE001 -- as in `record`
            disable_after_error(err)

    def _create(self, prometheus: Any) -> Any:
        return prometheus.Histogram(
            self.full_name, self.help, self.labels, registry=None, buckets=self.buckets
        )


@dataclass
class MetricsState:
    """Whether metrics are on in this process."""

    is_on: bool = False
    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)


NULL_METRIC = NullMetric()
_state = MetricsState()


def disable_after_error(err: Exception) -> None:
    """Switch metrics off after an error."""
    logger.warning("metrics are switched off after an error: %r", err)
    set_enabled(on=False)


def set_enabled(*, on: bool) -> None:
    """Switch metrics on or off."""
    if _state.is_on != on:
        _state.is_on = on
        for meter in METRICS:
            meter.reset()


def _is_exposed() -> bool:
    """Tell whether anything can read what this process measures.

    Without a metrics folder, only a program that has imported `prometheus_client` can. The import
    takes 4 MB and 45 ms, which a program that only sends jobs saves.
    """
    return multiprocess_folder() is not None or "prometheus_client" in sys.modules


@cache
def import_prometheus() -> Any:
    """Import `prometheus_client`, and register with its collector in this process."""
    prometheus = importlib.import_module("prometheus_client")
    values: Any = importlib.import_module("prometheus_client.values")
    in_memory = values.ValueClass is values.MutexValue
    if in_memory and multiprocess_folder() is not None:  # imported before the folder was named
        values.ValueClass = values.MultiProcessValue()
        in_memory = False
    if not in_memory:
        _disable_pid_check(values.ValueClass)
        lock_during_fork(inspect.getclosurevars(values.ValueClass.inc).nonlocals["lock"])
    prometheus.REGISTRY.register(WorkshedCollector())
    return prometheus


def _disable_pid_check(kind: Any) -> None:
    """Keep `prometheus_client` from calling `getpid` for each measurement, to detect forks.

    That took 4 µs, five times per job, where system calls are slow; fork hooks do the same here.
    """
    with contextlib.suppress(AttributeError, ValueError):  # a release with other internals
        asking = kind._MmapedValue__check_for_pid_change  # noqa: SLF001
        cell = asking.__code__.co_freevars.index("process_identifier")
        asking.__closure__[cell].cell_contents = lambda: _state.pid


def _reset_in_child() -> None:
    """Start from zero in a forked child; with a folder, it has its own files anyway."""
    _state.pid = os.getpid()
    if multiprocess_folder() is None:
        for meter in METRICS:
            meter.reset()


class WorkshedCollector:
    """Adds the metrics of this process to the registry that an application exposes."""

    def describe(self) -> list[Any]:
        """Return nothing, because metrics appear with their first measurement."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield every metric that has measurements."""
        for meter in METRICS:
            yield from meter.collect()


def lock_during_fork(lock: threading.Lock) -> None:
    """Fork only while no thread holds a lock, because in the child no thread would release it."""
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )


lock_during_fork(_state.lock)
os.register_at_fork(after_in_child=_reset_in_child)
