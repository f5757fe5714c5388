"""What takes the numbers of a metric; `prometheus_client` is imported with the first of them."""

import contextlib
import importlib
import inspect
import logging
import os
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Literal

from workshed.settings import multiprocess_folder

Mode = Literal["livesum", "livemax", "livemin"]
"""What stands for all processes of a master that live."""

# From a quick job to one of half an hour.
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)

PARTS = ("_upper_bounds", "_buckets", "_sum")
"""Of a histogram of `prometheus_client`."""

logger = logging.getLogger(__name__)

METERS: list["Metric"] = []


class NullMetric:
    """Takes numbers where nothing is measured."""

    def inc(self, amount: float) -> None:
        """Forget it."""

    def set(self, value: float) -> None:
        """Forget it."""

    def observe(self, amount: float) -> None:
        """Forget it."""


@dataclass(eq=False)
class Metric:
    """A metric and its labels, each of a closed set; a unit other than 1 ends its name."""

    kind: ClassVar[str] = ""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    namespace: str = field(default="workshed", kw_only=True)
    """The first word of its name; an application's own meters have another one."""
    _metric: Any = None
    _children: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Be among all meters."""
        METERS.append(self)

    @property
    def full_name(self) -> str:
        """The name in what is scraped."""
        return f"{self.namespace}_{self.name}"

    @property
    def unit(self) -> str:
        """What its numbers count."""
        return "seconds" if self.name.endswith("_seconds") else "1"

    def tell(self, method: str, number: float, values: tuple[str, ...]) -> None:
        """Hand on a number; never raise, since what it tells of has happened."""
        try:
            getattr(self._child(values), method)(number)
        except Exception as err:  # noqa: BLE001 -- a full disk, whatever: jobs come first
            give_up(err)

    def tell_all(self, method: str, numbers: list[float], values: tuple[str, ...]) -> None:
        """Hand on many numbers at once."""
        self.tell(method, sum(numbers), values)

    def _child(self, values: tuple[str, ...]) -> Any:
        child = self._children.get(values)
        return self._resolved(values) if child is None else child

    def _resolved(self, values: tuple[str, ...]) -> Any:
        if not _state.on:
            return NOTHING
        with _state.lock:
            if self._metric is None:
                self._metric = self._made(import_prometheus())
            made = self._metric.labels(*values) if self.labels else self._metric
            return self._children.setdefault(values, made)

    def _made(self, prometheus: Any) -> Any:
        raise NotImplementedError

    def collected(self) -> Iterable[Any]:
        """Return what this process has counted."""
        metric = self._metric
        return [] if metric is None else metric.collect()

    def forget(self) -> None:
        """Begin at zero."""
        self._metric = None
        self._children = {}


class Counter(Metric):
    """How often something happened."""

    kind = "counter"

    @property
    def full_name(self) -> str:
        """The name in what is scraped."""
        return f"{super().full_name}_total"

    def add(self, *values: str, amount: float = 1) -> None:
        """Count so many more."""
        self.tell("inc", amount, values)

    def _made(self, prometheus: Any) -> Any:
        return prometheus.Counter(self.full_name, self.help, self.labels, registry=None)


@dataclass(eq=False)
class Gauge(Metric):
    """How much there is now."""

    kind: ClassVar[str] = "gauge"
    mode: Mode = "livesum"

    def set(self, value: float, *values: str) -> None:
        """Take the number of this moment."""
        self.tell("set", value, values)

    def _made(self, prometheus: Any) -> Any:
        return prometheus.Gauge(
            self.full_name, self.help, self.labels, registry=None, multiprocess_mode=self.mode
        )


@dataclass(eq=False)
class Histogram(Metric):
    """How long something took, each time."""

    kind: ClassVar[str] = "histogram"
    buckets: tuple[float, ...] = BUCKETS_S

    def observe(self, seconds: float, *values: str) -> None:
        """Take one more."""
        self.tell("observe", seconds, values)

    def tell_all(self, method: str, numbers: list[float], values: tuple[str, ...]) -> None:
        """Hand on many numbers at once: each bucket they are in is written once."""
        try:
            child = self._child(values)
            parts: list[Any] = [getattr(child, name, None) for name in PARTS]
            if None in parts:  # of what measures nothing, or of a release that does it otherwise
                for number in numbers:
                    getattr(child, method)(number)
                return
            bounds, buckets, total = parts
            total.inc(sum(numbers))
            for place, count in Tally(bisect_left(bounds, one) for one in numbers).items():
                buckets[place].inc(count)
        except Exception as err:  # noqa: BLE001 -- as in `tell`
            give_up(err)

    def _made(self, prometheus: Any) -> Any:
        return prometheus.Histogram(
            self.full_name, self.help, self.labels, registry=None, buckets=self.buckets
        )


@dataclass
class MeterState:
    """Whether this process measures."""

    on: bool = False
    pid: int = field(default_factory=os.getpid)
    lock: threading.Lock = field(default_factory=threading.Lock)


NOTHING = NullMetric()
_state = MeterState()


def give_up(err: Exception) -> None:
    """Measure nothing more."""
    logger.warning("nothing is measured any more: %r", err)
    switch_on(on=False)


def switch_on(*, on: bool) -> None:
    """Measure from now on, or never mind."""
    if _state.on != on:
        _state.on = on
        for meter in METERS:
            meter.forget()


@cache
def import_prometheus() -> Any:
    """Import `prometheus_client`, and be part of what it collects in this process.

    It takes 45 ms, which a program that only imports actors does not spend.
    """
    prometheus = importlib.import_module("prometheus_client")
    values: Any = importlib.import_module("prometheus_client.values")
    in_memory = values.ValueClass is values.MutexValue
    if in_memory and multiprocess_folder() is not None:  # imported before the folder was named
        values.ValueClass = values.MultiProcessValue()
        in_memory = False
    if not in_memory:
        _ask_for_no_pid(values.ValueClass)
        hold_in_forks(inspect.getclosurevars(values.ValueClass.inc).nonlocals["lock"])
    prometheus.REGISTRY.register(WorkshedCollector())
    return prometheus


def _ask_for_no_pid(kind: Any) -> None:
    """Let a number in a file not ask the system each time whether it is in a forked child.

    That took 4 µs, five times a job, where system calls are slow. We know of forks.
    """
    with contextlib.suppress(AttributeError, ValueError):  # of a release that does it otherwise
        asking = kind._MmapedValue__check_for_pid_change  # noqa: SLF001
        cell = asking.__code__.co_freevars.index("process_identifier")
        asking.__closure__[cell].cell_contents = lambda: _state.pid


def _start_anew() -> None:
    """Count from zero in a forked child; of a folder's files it has its own by itself."""
    _state.pid = os.getpid()
    if multiprocess_folder() is None:
        for meter in METERS:
            meter.forget()


class WorkshedCollector:
    """Gives what this process has counted to the registry that an application shows."""

    def describe(self) -> list[Any]:
        """Name nothing before it is there."""
        return []

    def collect(self) -> Iterator[Any]:
        """Return all that has a number."""
        for meter in METERS:
            yield from meter.collected()


def hold_in_forks(lock: threading.Lock) -> None:
    """Fork only while no thread holds a lock; in the child nobody would release it."""
    os.register_at_fork(
        before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
    )


hold_in_forks(_state.lock)
os.register_at_fork(after_in_child=_start_anew)
