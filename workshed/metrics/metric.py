"""Metric types, and where this process keeps what they measure."""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from workshed.health.shared_folder import values_file
from workshed.metrics.forks import lock_during_fork
from workshed.metrics.stores import MetricStore, Recorder
from workshed.settings import multiprocess_folder, settings

if TYPE_CHECKING:
    from workshed.metrics.samples import Sample

Mode = Literal["livesum", "livemax", "livemin"]
"""How the values of all living processes that share a folder are combined."""

# From a quick job to one that takes half an hour.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

logger = logging.getLogger(__name__)

METRICS: list["Metric"] = []


class Metric:
    """A metric with its labels, each a closed set of values; a unit other than 1 ends its name."""

    kind: ClassVar[str] = ""
    mode: str = ""
    """How gauges of several processes are combined; empty for other kinds."""
    buckets: tuple[float, ...] = ()
    """Upper limits, for a histogram."""

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002 -- what Prometheus calls it
        labels: tuple[str, ...] = (),
        *,
        namespace: str = "workshed",
    ) -> None:
        """Register the metric; `namespace` is the first word of its name, your own for yours."""
        self.name, self.help, self.labels, self.namespace = name, help, labels, namespace
        self._recorders: dict[tuple[str, ...], Recorder] = {}
        METRICS.append(self)

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""
        return f"{self.namespace}_{self.name}"

    @property
    def unit(self) -> str:
        """The unit: `seconds`, or 1."""
        return "seconds" if self.name.endswith("_seconds") else "1"

    def record(self, numbers: Sequence[float], values: tuple[str, ...]) -> None:
        """Record measurements; never raises, because metrics must not disturb jobs."""
        try:
            recorder = self._recorders.get(values) or self._resolve(values)
            recorder(numbers)
        except Exception as err:  # noqa: BLE001 -- a full disk, for example
            disable_after_error(err)

    def _resolve(self, values: tuple[str, ...]) -> Recorder:
        with _state.lock:
            store = _state.find_store()
            if store is None:
                return discard
            made = store.recorder(self, values)
            return self._recorders.setdefault(values, made)

    def reset(self) -> None:
        """Forget where it was recorded."""
        self._recorders = {}


class Counter(Metric):
    """Counts how often something happened."""

    kind = "counter"

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""
        return f"{super().full_name}_total"

    def add(self, *values: str, amount: float = 1) -> None:
        """Add `amount`, for these label values."""
        self.record((amount,), values)


class Gauge(Metric):
    """Shows a current value."""

    kind = "gauge"
    mode: Mode = "livesum"

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: tuple[str, ...] = (),
        mode: Mode = "livesum",
        *,
        namespace: str = "workshed",
    ) -> None:
        """Register the gauge, and how the values of several processes are combined."""
        super().__init__(name, help, labels, namespace=namespace)
        self.mode = mode

    def set(self, value: float, *values: str) -> None:
        """Set the current value, for these label values."""
        self.record((value,), values)


class Histogram(Metric):
    """Measures how long something takes."""

    kind = "histogram"
    buckets: tuple[float, ...] = BUCKETS_S

    def __init__(
        self,
        name: str,
        help: str,  # noqa: A002
        labels: tuple[str, ...] = (),
        buckets: tuple[float, ...] = BUCKETS_S,
        *,
        namespace: str = "workshed",
    ) -> None:
        """Register the histogram, and the upper limits of its buckets."""
        super().__init__(name, help, labels, namespace=namespace)
        self.buckets = buckets

    def observe(self, seconds: float, *values: str) -> None:
        """Record a duration, for these label values."""
        self.record((seconds,), values)


class MetricsState:
    """Whether metrics are on in this process, and where they are kept."""

    def __init__(self) -> None:
        """Begin without metrics."""
        self.is_on = False
        self.store: MetricStore | None = None
        self.lock = threading.Lock()

    def find_store(self) -> MetricStore | None:
        """Return the store; `None` while nothing can read what this process measures.

        Raises `OSError` if its file cannot be made.
        """
        if self.is_on and self.store is None:
            self.store = open_store()
        return self.store

    def drop_store(self) -> None:
        """Close the store; the next measurement opens another one."""
        for metric in METRICS:
            metric.reset()
        if self.store is not None:
            self.store.close()
            self.store = None


_state = MetricsState()


def discard(_numbers: Sequence[float]) -> None:
    """Record nothing."""


def open_store() -> MetricStore | None:
    """Return a new store for this process, or `None` if nothing reads its measurements.

    `prometheus_client` takes 4 MB and 45 ms, so it is not imported for nothing: a program that only
    sends has its numbers in that package's registry once it has imported that itself.
    """
    folder = multiprocess_folder()
    if folder is not None and folder == settings().shared_folder:
        return open_file_store(values_file(folder))
    if folder is not None or "prometheus_client" in sys.modules:
        store: MetricStore = import_prometheus().PrometheusStore()
        return store
    return None


def open_file_store(path: Path | None) -> MetricStore:
    """Return a store with a file, or in memory; a program that only sends imports none of this."""
    from workshed.metrics.file_store import FileStore  # noqa: PLC0415

    return FileStore(path)


def import_prometheus() -> Any:
    """Import what needs `prometheus_client`."""
    return importlib.import_module("workshed.metrics.prometheus")


def keep_in_memory() -> None:
    """Keep measurements in memory from now on, for a process that has a page of its own."""
    with _state.lock:
        if _state.is_on and _state.store is None:
            _state.store = open_file_store(None)


def read_own() -> "list[Sample]":
    """Return what this process keeps in memory."""
    store = _state.store  # another thread may drop it meanwhile
    return [] if store is None else store.read()


def disable_after_error(err: Exception) -> None:
    """Switch metrics off after an error."""
    logger.warning("metrics are switched off after an error: %r", err)
    set_enabled(on=False)


def set_enabled(*, on: bool) -> None:
    """Switch metrics on or off."""
    with _state.lock:
        if _state.is_on != on:
            _state.is_on = on
            _state.drop_store()


def _reset_in_child() -> None:
    """Start from zero in a forked child, in a file of its own.

    In a folder that an application has named, `prometheus_client` does that itself.
    """
    is_own = _state.store is not None and not _state.store.is_shared
    if is_own or multiprocess_folder() is None:
        _state.drop_store()


lock_during_fork(_state.lock, is_outer=True)
os.register_at_fork(after_in_child=_reset_in_child)
