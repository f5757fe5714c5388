"""A fault experiment: a test with a name, a fault, a load, and the remedy that it proves."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import pytest

LONGEST_S = 3600
FAILED = 1
"""pytest's exit code for failed tests; an error of another kind proves nothing."""

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent

Verdict = Literal["lost", "ghost", "duplicated", "uncounted", "stuck", "threads_dead"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """The lines of the product that keep a fault from doing harm, and their replacement.

    `patched/` replaces them in the memory of an experiment's processes.
    """

    file: str
    old: str
    new: str


KEY = Remedy(
    "workshed/middleware/delivery/once.py",
    "if key.claim(conn):",
    "if True:",
)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A fault and a load; without `remedy` it must fail, and by that verdict."""

    number: int
    """The number in `docs/faults.md`; several experiments may prove parts of one."""
    name: str
    fault: str
    load: str
    remedy: Remedy
    fails_by: Verdict
    node: str
    """The pytest node id of the test."""
    needs_rabbitmq: bool = True
    """Otherwise it also runs with PostgreSQL alone, by `--transport postgresql`."""


@dataclass(slots=True)
class Result:
    """The result of an experiment, counted in jobs."""

    lost: int = 0
    """Sent, but without an effect."""
    ghost: int = 0
    """Effects of jobs that were never sent, or were rolled back."""
    duplicated: int = 0
    """Effects under a key that happened more than once."""
    stuck: int = 0
    """Rows, locks and messages left when nothing runs any more."""
    outside: int = 0
    """Emails and requests that an external server received more than once."""
    counted: int = 0
    """How many the sender has counted as possible duplicates."""
    threads_dead: int = 0
    """Worker threads that ended while their process kept running."""
    repeats: int = 0
    """Repeated effects of plain actors, which are at-least-once."""
    drain_s: float | None = None
    """From the last send until no job was left; None if that was not measured."""
    seed: int = 0
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def uncounted(self) -> int:
        """Return how many external duplicates were not counted."""
        return max(0, self.outside - self.counted)

    @property
    def harm(self) -> int:
        """Return the sum of all counts that must be 0."""
        within = self.lost + self.ghost + self.duplicated + self.stuck
        return within + self.uncounted + self.threads_dead

    def as_json(self) -> dict[str, object]:
        """Return the reported fields."""
        return asdict(self)


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str,
    *,
    number: int,
    fault: str,
    load: str,
    remedy: Remedy,
    fails_by: Verdict,
    in_suite: bool = False,
    needs_rabbitmq: bool = True,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a test to the campaign; if `in_suite`, `make test` runs it too."""

    def enter(test: Callable[..., None]) -> Callable[..., None]:
        file = Path(test.__code__.co_filename).relative_to(ROOT)
        node = f"{file}::{test.__name__}"
        EXPERIMENTS[name] = Experiment(
            number, name, fault, load, remedy, fails_by, node, needs_rabbitmq
        )
        return test if in_suite else pytest.mark.campaign(test)

    return enter


def all_experiments() -> dict[str, Experiment]:
    """Return all experiments by name, in the order of their numbers."""
    for file in sorted(FOLDER.glob("test_*.py")):
        importlib.import_module(f"tests.faults.{file.stem}")
    return dict(sorted(EXPERIMENTS.items(), key=lambda one: (one[1].number, one[0])))


def run_test(
    node: str, *options: str, without: Sequence[Remedy] = (), patched: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one test; each process without a remedy writes a line to `patched`."""
    paths = [str(FOLDER / "patched"), str(ROOT)]
    patches = {
        "FAULTS_PATCHES": json.dumps([[one.file, one.old, one.new] for one in without]),
        "FAULTS_PATCHED": str(patched or os.devnull),
        "PYTHONPATH": os.pathsep.join(paths if without else paths[1:]),
    }
    # To rewrite assertions, pytest would load our packages itself and bypass the patches.
    plain = ["--assert=plain"] if without else []
    words = ["-q", "-p", "no:cacheprovider", "-m", "", *plain, node, *options]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=ROOT,
        env={**os.environ, **patches},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
