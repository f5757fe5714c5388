"""Keep what this process measures in a file of its own, or in memory."""

import math
import threading
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from workshed.metrics import samples
from workshed.metrics.forks import lock_during_fork
from workshed.metrics.samples import Sample
from workshed.metrics.stores import MetricDefinition, Recorder
from workshed.metrics.value_file import ValueFile

# One for all stores, so that it can be held during a fork.
_lock = threading.Lock()
lock_during_fork(_lock)


class FileStore:
    """Writes into a `ValueFile`, under one lock."""

    is_shared: ClassVar[bool] = False

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, or keep the numbers in memory; raises `OSError`."""
        self._file = ValueFile(path)

    def recorder(self, metric: MetricDefinition, values: tuple[str, ...]) -> Recorder:
        """Return what records measurements with these label values; raises `OSError`."""
        labels = dict(zip(metric.labels, values, strict=True))
        with _lock:
            if metric.kind == "histogram":
                total = self._place(metric, "_sum", labels, metric.help)
                bounds = (*metric.buckets, math.inf)
                limits = [{"le": samples.format_number(bound)} for bound in bounds]
                # The same help in each bucket would fill half of the file.
                places = [self._place(metric, "_bucket", labels | le, "") for le in limits]
                return partial(self._observe, bounds, places, total)
            place = self._place(metric, "", labels, metric.help)
            return partial(self._set if metric.kind == "gauge" else self._add, place)

    def read(self) -> list[Sample]:
        """Return all numbers."""
        with _lock:
            entries = self._file.entries()
        return [samples.decode_entry(entry) for entry in entries]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _place(
        self, metric: MetricDefinition, suffix: str, labels: dict[str, str], text: str
    ) -> int:
        family, ordered = metric.full_name, samples.sort_labels(labels)
        name = f"{family}{suffix}"
        sample = Sample(metric.kind, metric.mode, family, name, ordered, text, 0.0)
        return self._file.place(samples.encode_key(sample))

    def _add(self, place: int, numbers: Sequence[float]) -> None:
        with _lock:
            self._file.add(place, sum(numbers))

    def _set(self, place: int, numbers: Sequence[float]) -> None:
        with _lock:
            self._file.set(place, numbers[-1])

    def _observe(
        self, bounds: Sequence[float], places: list[int], total: int, numbers: Sequence[float]
    ) -> None:
        counts = Tally(bisect_left(bounds, number) for number in numbers)
        with _lock:
            self._file.add(total, sum(numbers))
            for index, count in counts.items():
                self._file.add(places[index], count)
