"""When jobs were sent and started, as the jobs have recorded it."""

import fcntl
import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.jobs.recording import PAIR


class Gate:
    """A locked file: the first jobs of a worker wait for its lock, so that no boot is measured.

    Those who wait for a lock use no CPU. Jobs that looked for a file every 5 ms used so much on
    a slow machine that their worker never counted as idle.
    """

    def __init__(self, path: Path) -> None:
        """Make the file and lock it."""
        self.path = path
        self._file = path.open("wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let all jobs start, in processes that come later too."""
        self._file.close()


@dataclass(frozen=True)
class Marks:
    """What the jobs of one round have recorded, and the gate that they wait for."""

    path: Path

    @cached_property
    def gate(self) -> Gate:
        """What the first jobs of a gated worker wait for; closed at first."""
        return Gate(self.path.with_suffix(".gate"))

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
