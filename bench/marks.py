"""When jobs were sent and started, noted by the jobs themselves: 16 bytes each, in one file."""

import os
import statistics
import struct
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAIR = struct.Struct("<qq")
VARIABLE = "BENCH_MARKS"
GATE_VARIABLE = "BENCH_GATE"
LOOK_S = 0.005
looking = threading.Lock()


def mark(sent_ns: int) -> None:
    """Note that a job starts now that was sent, or was due, at `sent_ns` (Unix ns)."""
    _wait_for_gate()
    os.write(_file(), PAIR.pack(sent_ns, time.time_ns()))


@cache
def _wait_for_gate() -> None:
    """Let the first jobs of a process wait for a file, while all that boots beside them does."""
    gate = os.environ.get(GATE_VARIABLE)
    with looking:  # one thread of them all
        while gate is not None and not Path(gate).exists():
            time.sleep(LOOK_S)


@cache
def _file() -> int:
    return os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@dataclass(frozen=True)
class Marks:
    """What the jobs of one round have noted."""

    path: Path

    @property
    def gate(self) -> Path:
        """The file that the first jobs wait for, where they are told to wait."""
        return self.path.with_suffix(".gate")

    @property
    def count(self) -> int:
        """How many have started."""
        return self.path.stat().st_size // PAIR.size if self.path.exists() else 0

    def pairs(self) -> list[tuple[int, int]]:
        """Return when each was sent and started, in the order of their starts; Unix ns."""
        return sorted(PAIR.iter_unpack(self.path.read_bytes()), key=lambda pair: pair[1])

    def rate(self) -> float:
        """Return starts per second, from the first to the last."""
        starts = [started for _, started in self.pairs()]
        return (len(starts) - 1) / (starts[-1] - starts[0]) * 1e9

    def late_ms(self) -> "Late":
        """Return how long after it was sent, or due, each job has started."""
        late = sorted((started - sent) / 1e6 for sent, started in self.pairs())
        return Late(statistics.median(late), late[int(len(late) * 0.99)])


@dataclass(frozen=True)
class Late:
    """Milliseconds."""

    p50: float
    p99: float
