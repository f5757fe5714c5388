"""The outcome of an experiment, with and without its remedy."""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.experiment import FAILED, Experiment, Remedy, Result, run_test

TRIES = 3
"""Attempts without a remedy: at a small scale, it is chance where a kill strikes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of an experiment's test."""

    code: int
    """pytest's exit code."""
    result: Result | None
    """None if the test ended before it had counted."""
    patched: int
    """How many processes ran without the remedy."""
    words: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The runs of an experiment with and without its remedy."""

    experiment: Experiment
    run: Run
    without: Run
    seconds: float

    @property
    def fails_without(self) -> int:
        """The count of its verdict without the remedy; 0 if it passed, or ended by an error."""
        if self.without.code != FAILED or not self.without.result or not self.without.patched:
            return 0
        counted: int = getattr(self.without.result, self.experiment.fails_by)
        return counted

    @property
    def passed(self) -> bool:
        """Return whether it did no harm, and would have done harm without its remedy."""
        return self.run.code == 0 and self.run.result is not None and self.fails_without > 0

    @property
    def words(self) -> str:
        """pytest's output of the run that has to be fixed."""
        return self.run.words if self.run.code else self.without.words

    def line(self) -> str:
        """Format the outcome as one line."""
        e, r = self.experiment, self.run.result or Result()
        verdict = f"without its remedy {e.fails_by} {self.fails_without}"
        if not self.fails_without:
            verdict = f"WITHOUT ITS REMEDY IT DOES NOT FAIL as {e.fails_by}"
        return (
            f"{e.number:2}  {e.name:24}  {'passed' if self.passed else 'FAILED'}  lost {r.lost}  "
            f"ghost {r.ghost}  duplicated {r.duplicated}  outside {r.outside} of {r.counted}  "
            f"stuck {r.stuck}  threads dead {r.threads_dead}  repeats {r.repeats}  "
            f"{self.seconds:.0f} s  seed {r.seed}; {verdict}"
        )

    def as_json(self) -> dict[str, object]:
        """Return the fields of the JSON output."""
        e, without = self.experiment, self.without.result
        return {
            "name": e.name,
            "number": e.number,
            "fault": e.fault,
            "load": e.load,
            **(self.run.result or Result()).as_json(),
            "seconds": round(self.seconds, 1),
            "fails_by": e.fails_by,
            "without": without.as_json() if without else None,
            "remedy_off_fails": self.fails_without > 0,
            "passed": self.passed,
        }


def measured(e: Experiment, full: bool, options: Sequence[str]) -> Outcome:
    """Run an experiment, and then without its remedy at a small scale."""
    started = time.monotonic()
    ran = run(e, [*options, *(["--full"] if full else [])])
    seconds = time.monotonic() - started
    for _ in range(TRIES):
        outcome = Outcome(e, ran, run(e, options, without=[e.remedy]), seconds)
        if outcome.fails_without:
            break
    return outcome


def run(e: Experiment, options: Sequence[str], *, without: Sequence[Remedy] = ()) -> Run:
    """Run an experiment's test."""
    with tempfile.TemporaryDirectory(prefix="workshed-faults-") as folder:
        report, patched = Path(folder, "report.json"), Path(folder, "patched")
        words = ["--fault-report", str(report), *options]
        done = run_test(e.node, *words, without=without, patched=patched)
        result = Result(**json.loads(report.read_text())) if report.exists() else None
        times = len(patched.read_text().splitlines()) if patched.exists() else 0
    return Run(done.returncode, result, times, done.stdout + done.stderr)
