"""When jobs were sent and started, as the jobs have recorded it."""

import statistics
from dataclasses import dataclass
from pathlib import Path

from bench.jobs.recording import PAIR


@dataclass(frozen=True)
class Marks:
    """What the jobs of one round have recorded."""

    path: Path

    @property
    def gate(self) -> Path:
        """The file that the first jobs of a gated worker wait for."""
        return self.path.with_suffix(".gate")

    @property
    def count(self) -> int:
        """How many have started."""
        return self.path.stat().st_size // PAIR.size if self.path.exists() else 0

    def pairs(self) -> list[tuple[int, int]]:
        """Return when each job was sent and started, ordered by start; Unix ns."""
        return sorted(PAIR.iter_unpack(self.path.read_bytes()), key=lambda pair: pair[1])

    def rate(self) -> float:
        """Return starts per second, from the first to the last."""
        starts = [started for _, started in self.pairs()]
        return (len(starts) - 1) / (starts[-1] - starts[0]) * 1e9

    def latency_ms(self) -> "Latency":
        """Return how long after they were sent, or due, jobs started."""
        late = sorted((started - sent) / 1e6 for sent, started in self.pairs())
        return Latency(statistics.median(late), late[int(len(late) * 0.99)])


@dataclass(frozen=True)
class Latency:
    """Milliseconds."""

    p50: float
    p99: float
