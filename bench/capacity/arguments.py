"""The arguments of `python -m bench.capacity`, and the loads that they describe."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bench.capacity.figures import FIGURES_FILE
from bench.capacity.model import Load

SHARES = {
    "once": ("once", "have once=True"),
    "unique": ("unique", "have unique="),
    "limit": ("limit on those that run", "have a limit on those that run"),
    "limit_starts": ("limit on starts", "have a limit on starts"),
    "stored": ("stored", "are stored in a transaction, or delayed"),
    "batch": ("in a batch", "are in a batch"),
    "failing": ("fails once", "fail once, and are retried"),
}
"""Options that take a share of the jobs: the kind of job that each means, and its help text."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m bench.capacity", description="What a load needs, from measured figures."
    )
    made.add_argument(
        "--rate", action="append", type=positive, metavar="JOBS", help="per second; repeatable"
    )
    made.add_argument("--job-ms", type=positive, default=0.0, help="how long a job takes")
    made.add_argument("--cpu-ms", type=positive, default=0.0, help="how much of that is CPU time")
    for name, (_, said) in SHARES.items():
        option = f"--{name.replace('_', '-')}"
        made.add_argument(
            option, type=share, default=0.0, metavar="SHARE", help=f"share of jobs that {said}"
        )
    made.add_argument("--history", choices=("all", "failures", "none"), default="all",
                      help="WORKSHED_HISTORY")  # fmt: skip
    made.add_argument("--threads", type=whole, default=8, help="of a worker process")
    made.add_argument("--pool", type=whole, default=8, help="WORKSHED_POOL_SIZE")
    made.add_argument(
        "--used", type=share, default=0.7, help="how much of each resource may be used, 0 to 1"
    )
    made.add_argument("--figures", action="append", type=Path, metavar="FILE",
                      help="a run of your own, bench-results/bench.json; repeatable")  # fmt: skip
    made.add_argument("--write", action="store_true", help="update the tables in docs/")
    return made


def build_loads(words: argparse.Namespace) -> list[Load]:
    """Return a load for each rate."""
    if words.cpu_ms > words.job_ms:
        raise SystemExit("--cpu-ms is a part of --job-ms, so it cannot be more")
    if not words.used:
        raise SystemExit("--used 0 leaves nothing to use")
    shares = {kind: getattr(words, name) for name, (kind, _) in SHARES.items()}
    shares["history"] = 1.0 if words.history == "all" else 0.0
    return [
        Load(rate, words.job_ms, words.cpu_ms, shares, words.threads, words.pool, words.used)
        for rate in words.rate or [100.0]
    ]


def list_files(words: argparse.Namespace) -> Sequence[Path]:
    """Return the files to read: ours first, then those given on the command line."""
    return [FIGURES_FILE, *(words.figures or [])]


def positive(word: str) -> float:
    """Read a number that is not below 0."""
    if not 0 <= (value := float(word)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{word} is below 0, or not finite")
    return value


def share(word: str) -> float:
    """Read a number from 0 to 1."""
    if not 0 <= (value := float(word)) <= 1:
        raise argparse.ArgumentTypeError(f"{word} is not from 0 to 1")
    return value


def whole(word: str) -> int:
    """Read a number of at least 1."""
    if (value := int(word)) < 1:
        raise argparse.ArgumentTypeError(f"{word} is below 1")
    return value
