"""What processes have measured, read from their files and combined into the metrics of a page."""

import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from workshed.health.shared_folder import VALUES_SUFFIX
from workshed.metrics import value_file

# A key of `prometheus_client` has no kind and mode; the name of its file says these.
APPLICATION_FILE = re.compile(r"(counter|histogram|summary|gauge)(?:_([a-z]+))?_(\d+)\.db")

Labels = tuple[tuple[str, str], ...]
"""Names and values of labels, sorted by name."""


class Sample(NamedTuple):
    """A number that one process has measured."""

    kind: str
    """`counter`, `gauge`, `histogram` or `summary`."""
    mode: str
    """How gauges of several processes are combined, such as `livemax`; empty for other kinds."""
    family: str
    """The name of its metric."""
    name: str
    """Its own name: that of a histogram ends in `_bucket` or `_sum`."""
    labels: Labels
    help: str
    """What its metric means; empty if another number of the metric says that."""
    value: float
    at: float = 0.0
    """When it was measured, as Unix time; 0 if that is not recorded."""
    pid: str = ""
    """The process, where an application's gauge is shown for each process."""


class Family:
    """A metric with the numbers of all processes; the first number says of what kind it is."""

    def __init__(self, sample: Sample) -> None:
        self.name = sample.family
        self.kind = sample.kind
        self.help = sample.help
        self._values: dict[tuple[str, Labels], float] = {}
        self._times: dict[tuple[str, Labels], float] = {}

    def add(self, sample: Sample) -> None:
        """Combine a number with those of other processes."""
        self.help = self.help or sample.help
        mode = sample.mode.removeprefix("live")
        labels = sample.labels
        if mode == "all":
            labels = tuple(sorted((*labels, ("pid", sample.pid))))
        key = sample.name, labels
        if key not in self._values or math.isnan(self._values[key]):
            self._values[key] = sample.value
        elif mode in ("", "sum"):
            self._values[key] += sample.value
        elif mode in ("min", "max"):
            choose = min if mode == "min" else max
            if not math.isnan(sample.value):
                self._values[key] = choose(self._values[key], sample.value)
        elif sample.at >= self._times[key]:  # the most recent one
            self._values[key] = sample.value
        self._times[key] = max(sample.at, self._times.get(key, 0.0))

    def numbers(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield names, labels and values, as a page shows them."""
        if self.kind == "histogram":
            yield from self._histogram_numbers()
        else:
            yield from ((name, labels, value) for (name, labels), value in self._values.items())

    def _histogram_numbers(self) -> Iterator[tuple[str, Labels, float]]:
        """Files have the count of each bucket; a page adds up those of all smaller ones."""
        buckets: defaultdict[Labels, dict[float, float]] = defaultdict(dict)
        for (_name, labels), value in self._values.items():
            bound = dict(labels).get("le")
            if bound is not None:
                others = tuple(one for one in labels if one[0] != "le")
                buckets[others][float(bound)] = value
        for labels, counts in buckets.items():
            total = 0.0
            for bound_s in sorted(counts):
                total += counts[bound_s]
                shown = tuple(sorted((*labels, ("le", format_number(bound_s)))))
                yield f"{self.name}_bucket", shown, total
            yield f"{self.name}_count", labels, total
            yield f"{self.name}_sum", labels, self._values.get((f"{self.name}_sum", labels), 0.0)


def combine(samples: Iterable[Sample]) -> list[Family]:
    """Return the metrics of these numbers, by name."""
    families: dict[str, Family] = {}
    for sample in samples:
        family = families.setdefault(sample.family, Family(sample))
        if family.kind == sample.kind:  # a rolling restart may have changed it
            family.add(sample)
    return [families[name] for name in sorted(families)]


def encode_key(sample: Sample) -> str:
    """Return the key of a number in a file of Workshed."""
    labels = dict(sample.labels)
    return json.dumps(
        [sample.family, sample.name, labels, sample.help, sample.kind, sample.mode], sort_keys=True
    )


def decode_entry(entry: value_file.Entry) -> Sample:
    """Return a number from a file of Workshed."""
    family, name, labels, text, kind, mode = json.loads(entry.key)
    return Sample(kind, mode, family, name, sort_labels(labels), text, entry.value, entry.at)


def read_file(file: Path) -> list[Sample]:
    """Return the numbers in a file of Workshed, or of `prometheus_client`; raises `OSError`."""
    entries = value_file.parse_entries(file.read_bytes())
    if file.suffix == VALUES_SUFFIX:
        return [decode_entry(entry) for entry in entries]
    found = APPLICATION_FILE.fullmatch(file.name)
    if found is None:
        return []
    kind, mode, pid = found.groups(default="")
    samples = []
    for entry in entries:
        family, name, labels, text = json.loads(entry.key)
        family = name if kind == "counter" else family  # it calls them without `_total`
        labels = sort_labels(labels)
        samples.append(Sample(kind, mode, family, name, labels, text, entry.value, entry.at, pid))
    return samples


def sort_labels(labels: dict[str, str]) -> Labels:
    """Return labels in the order of their names."""
    return tuple(sorted(labels.items()))


def format_number(value: float) -> str:
    """Return a number as Prometheus reads it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))
