"""Keep measurements in `prometheus_client`, for a program that exposes them with that package.

Imported only by a program that uses the package itself, or that names a folder for it.
"""

import contextlib
import inspect
import os
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import prometheus_client
from prometheus_client import values

from workshed.metrics.forks import lock_during_fork
from workshed.metrics.samples import Sample
from workshed.metrics.stores import MetricDefinition, Recorder
from workshed.settings import multiprocess_folder

HISTOGRAM_PARTS = ("_upper_bounds", "_buckets", "_sum")
"""Attributes of a histogram, which let many durations be recorded at once."""


class PrometheusStore:
    """Has a metric of `prometheus_client` for each of Workshed's; not thread-safe."""

    is_shared: ClassVar[bool] = True

    def __init__(self) -> None:
        """Start with no metrics, and show them in the registry of the package."""
        self._metrics: dict[str, Any] = {}
        _collector.stores[:] = [self]

    def recorder(self, metric: MetricDefinition, values: tuple[str, ...]) -> Recorder:
        """Return what records measurements with these label values."""
        made = self._metrics.get(metric.full_name)
        if made is None:
            made = self._metrics[metric.full_name] = _create(metric)
        child = made.labels(*values) if metric.labels else made
        return partial(RECORD[metric.kind], child)

    def read(self) -> list[Sample]:
        """Return nothing, because the application's own page shows them."""
        return []

    def collect(self) -> Iterable[Any]:
        """Yield the metrics that have measurements."""
        for metric in list(self._metrics.values()):
            yield from metric.collect()

    def close(self) -> None:
        """Show nothing more."""
        _collector.stores.clear()


class WorkshedCollector:
    """Adds the metrics of this process to the registry that an application exposes."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self.stores: list[PrometheusStore] = []

    def describe(self) -> list[Any]:
        """Return nothing, because metrics appear with their first measurement."""
        return []

    def collect(self) -> Iterable[Any]:
        """Yield the metrics of the store, if there is one."""
        for store in list(self.stores):
            yield from store.collect()


def _create(metric: MetricDefinition) -> Any:
    words = (metric.full_name, metric.help, metric.labels)
    if metric.kind == "counter":
        return prometheus_client.Counter(*words, registry=None)
    if metric.kind == "histogram":
        return prometheus_client.Histogram(*words, registry=None, buckets=metric.buckets)
    mode: Any = metric.mode
    return prometheus_client.Gauge(*words, registry=None, multiprocess_mode=mode)


def _add(child: Any, numbers: Sequence[float]) -> None:
    child.inc(sum(numbers))


def _set(child: Any, numbers: Sequence[float]) -> None:
    child.set(numbers[-1])


def _observe(child: Any, numbers: Sequence[float]) -> None:
    """Record many durations at once; each bucket is written only once."""
    parts: list[Any] = [getattr(child, name, None) for name in HISTOGRAM_PARTS]
    if None in parts:  # a release with other internals
        for number in numbers:
            child.observe(number)
        return
    bounds, buckets, total = parts
    total.inc(sum(numbers))
    for place, count in Tally(bisect_left(bounds, one) for one in numbers).items():
        buckets[place].inc(count)


RECORD: dict[str, Callable[[Any, Sequence[float]], None]] = {
    "counter": _add,
    "gauge": _set,
    "histogram": _observe,
}


def _prepare_package() -> None:
    """Let the package write to a folder that was named after its import, and survive forks."""
    package: Any = values
    in_memory = package.ValueClass is package.MutexValue
    if in_memory and multiprocess_folder() is not None:
        package.ValueClass = package.MultiProcessValue()
        in_memory = False
    if not in_memory:
        _disable_pid_check(package.ValueClass)
        lock_during_fork(inspect.getclosurevars(package.ValueClass.inc).nonlocals["lock"])


def _disable_pid_check(kind: Any) -> None:
    """Keep the package from calling `getpid` for each measurement, to detect forks.

    That took 4 µs, five times per job, where system calls are slow; a fork hook does the same here.
    """
    with contextlib.suppress(AttributeError, ValueError):  # a release with other internals
        asking = kind._MmapedValue__check_for_pid_change  # noqa: SLF001
        cell = asking.__code__.co_freevars.index("process_identifier")
        asking.__closure__[cell].cell_contents = lambda: _pid[0]


_pid = [os.getpid()]
os.register_at_fork(after_in_child=lambda: _pid.__setitem__(0, os.getpid()))
_collector = WorkshedCollector()
_prepare_package()
prometheus_client.REGISTRY.register(_collector)
