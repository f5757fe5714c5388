"""What a store of measurements offers, and what it must know of a metric."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from workshed.metrics.samples import Sample

Recorder = Callable[[Sequence[float]], None]
"""Records measurements of one metric, for one set of label values: a counter adds them up, a gauge
takes the last one, a histogram counts each. May raise `OSError`."""


class MetricDefinition(Protocol):
    """A metric, as a store needs it."""

    kind: ClassVar[str]
    help: str
    labels: tuple[str, ...]
    mode: str
    buckets: tuple[float, ...]

    @property
    def full_name(self) -> str:
        """The name that Prometheus scrapes."""


class MetricStore(Protocol):
    """Where a process keeps what it measures."""

    is_shared: ClassVar[bool]
    """The application owns the folder or registry, and Workshed adds its measurements."""

    def recorder(self, metric: MetricDefinition, values: tuple[str, ...]) -> Recorder:
        """Return what records measurements with these label values; raises `OSError`."""

    def read(self) -> "list[Sample]":
        """Return what it keeps; nothing if it is shared."""

    def close(self) -> None:
        """Record nothing more."""
