"""How many instructions a worker executes for a job that does nothing.

A count depends far less on what else the machine does than a time, so it shows small gains.
"""

import os
import re
import shutil
import subprocess
import sys

from bench.jobs.recording import MARKS_VARIABLE
from bench.measurement import Measurement, alternate_rounds, compare_with_peer
from bench.processes import BenchError
from bench.size import Size
from bench.world import World

PEERS = ("ours", "lean", "stock", "stock quorum")
FEW = 0.1
"""The share of the jobs in the run that is subtracted: it has the same start-up and shutdown."""
WITHIN_S = 900.0
COLLECTED = re.compile(r"Collected : (\d+)")
ROUNDS = 3


def instructions(world: World, size: Size) -> list[Measurement]:
    """Count under callgrind; raises `BenchError` where there is no valgrind."""
    if shutil.which("valgrind") is None:
        raise BenchError("instructions are counted by valgrind: install the package valgrind")
    found = alternate_rounds(
        min(size.rounds, ROUNDS),
        PEERS,
        lambda peer: {"count": count_per_job(world, peer, size.counted_jobs) / 1_000},
    )
    name, unit = "no-op job, one thread, instructions", "thousand/job"
    return [
        compare_with_peer(
            name if ours == "ours" else f"{name}, lean",
            *(found[ours]["count"], unit, peer, found[peer]["count"]),
        )
        for ours in ("ours", "lean")
        for peer in ("stock", "stock quorum")
    ]


def count_per_job(world: World, peer: str, jobs: int) -> float:
    """Return the instructions per job, from two runs that differ in their number of jobs."""
    few = max(1, int(jobs * FEW))
    return (count_run(world, peer, jobs) - count_run(world, peer, few)) / (jobs - few)


def count_run(world: World, peer: str, jobs: int) -> int:
    """Return the instructions of a process that starts, runs so many jobs, and stops."""
    world.reset()
    world.send(peer, "many", jobs)
    module = "stock" if peer.startswith("stock") else peer
    environment = world.environment(peer) | {
        MARKS_VARIABLE: str(world.new_marks().path),
        "PYTHONHASHSEED": "0",
    }
    done = subprocess.run(
        [
            # Fair, because on a busy machine a thread that polls otherwise keeps all others out.
            *("valgrind", "--fair-sched=yes", "--tool=callgrind"),
            *("--callgrind-out-file=/dev/null", "--"),
            *(sys.executable, "-m", "bench.jobs.one_process", f"bench.jobs.{module}", str(jobs)),
        ],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    collected = COLLECTED.search(done.stderr)
    if done.returncode != 0 or collected is None:
        raise BenchError(f"{peer} was not counted: {done.stderr[-2_000:]}")
    return int(collected[1])
