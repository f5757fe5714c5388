"""Record when jobs were sent and started: 16 bytes each, in one file.

Separate from `bench.marks`, because each module counts in a program that only sends.
"""

import fcntl
import os
import struct
import time
from functools import cache
from pathlib import Path

PAIR = struct.Struct("<qq")
MARKS_VARIABLE = "BENCH_MARKS"
GATE_VARIABLE = "BENCH_GATE"


def record_start(sent_ns: int) -> None:
    """Record that a job starts now; it was sent, or was due, at `sent_ns` (Unix ns)."""
    _wait_for_gate()
    os.write(_file(), PAIR.pack(sent_ns, time.time_ns()))


def count_marks() -> int:
    """Return how many jobs have started, in all processes of a round."""
    path = Path(os.environ[MARKS_VARIABLE])
    return path.stat().st_size // PAIR.size if path.exists() else 0


@cache
def _wait_for_gate() -> None:
    """Block the first jobs of a process until `bench.marks.Gate` opens."""
    path = os.environ.get(GATE_VARIABLE)
    if path is not None:
        with Path(path).open("rb") as gate:
            fcntl.flock(gate, fcntl.LOCK_SH)


@cache
def _file() -> int:
    return os.open(os.environ[MARKS_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
