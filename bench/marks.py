"""When jobs were sent and started, recorded by the jobs themselves: 16 bytes each, in one file."""

import os
import statistics
import struct
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAIR = struct.Struct("<qq")
MARKS_VARIABLE = "BENCH_MARKS"
GATE_VARIABLE = "BENCH_GATE"
POLL_S = 0.005
gate_lock = threading.Lock()


def record_start(sent_ns: int) -> None:
    """Record that a job starts now; it was sent, or was due, at `sent_ns` (Unix ns)."""
    _wait_for_gate()
    os.write(_file(), PAIR.pack(sent_ns, time.time_ns()))


@cache
def _wait_for_gate() -> None:
    """Block the first jobs of a process until a file exists, so that no boot is measured."""
    gate = os.environ.get(GATE_VARIABLE)
    with gate_lock:  # one thread polls, the others wait for it
        while gate is not None and not Path(gate).exists():
            time.sleep(POLL_S)


@cache
def _file() -> int:
    return os.open(os.environ[MARKS_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


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
