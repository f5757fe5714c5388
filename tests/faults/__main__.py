"""Run the fault campaign: `python -m tests.faults [--list] [--only NAME] [--scale full] [--json]`.

Each experiment runs twice: as it is, and with its remedy taken out of a copy of the project, where
it has to fail. The exit code is 1 when one did not pass, or could not fail.
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.faults.experiment import (
    EXPERIMENTS,
    FAILED,
    FOLDER,
    ROOT,
    Experiment,
    Result,
    copy_of_the_project,
    run_test,
)


@dataclass(slots=True)
class Outcome:
    """An experiment, run with and without its remedy."""

    experiment: Experiment
    result: Result
    seconds: float
    code: int
    code_without: int
    words: str

    @property
    def passed(self) -> bool:
        """Tell whether it did no harm, and would have without its remedy."""
        return self.code == 0 and self.code_without == FAILED

    def as_json(self) -> dict[str, object]:
        """Return the fields that others read."""
        return {
            "name": self.experiment.name,
            "fault": self.experiment.fault,
            "load": self.experiment.load,
            **self.result.as_json(),
            "seconds": round(self.seconds, 1),
            "remedy_off_fails": self.code_without == FAILED,
            "passed": self.passed,
        }


def main() -> int:
    """Read the words, run, report."""
    words = arguments()
    for file in sorted(FOLDER.glob("test_*.py")):
        importlib.import_module(f"tests.faults.{file.stem}")
    unknown = set(words.only) - set(EXPERIMENTS)
    if unknown:
        print(f"no experiment {min(unknown)!r}; there are: {', '.join(EXPERIMENTS)}")
        return 2
    chosen = [e for name, e in EXPERIMENTS.items() if not words.only or name in words.only]
    if words.list:
        show_list(chosen, as_json=words.json)
        return 0
    outcomes = [measured(e, full=words.scale == "full", as_json=words.json) for e in chosen]
    if words.json:
        print(json.dumps({"experiments": [o.as_json() for o in outcomes]}, indent=2))
    return 0 if all(o.passed for o in outcomes) else 1


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the experiments, run none")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this one")
    parser.add_argument("--scale", choices=["small", "full"], default="small")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser.parse_args()


def show_list(chosen: list[Experiment], *, as_json: bool) -> None:
    """Name the experiments."""
    if as_json:
        rows = [{"name": e.name, "fault": e.fault, "load": e.load} for e in chosen]
        print(json.dumps({"experiments": rows}, indent=2))
        return
    for e in chosen:
        print(f"{e.name:24}  {e.fault}; {e.load}")


def measured(e: Experiment, *, full: bool, as_json: bool) -> Outcome:
    """Run an experiment with and without its remedy, and say what came of it."""
    started = time.monotonic()
    code, result, words = run(e, ROOT, full=full)
    seconds = time.monotonic() - started
    with tempfile.TemporaryDirectory(prefix="workshed-without-") as folder:
        tree = copy_of_the_project(Path(folder))
        e.remedy.remove(tree)
        code_without, _, words_without = run(e, tree, full=False)
    outcome = Outcome(e, result, seconds, code, code_without, words)
    if not as_json:
        verdict = "passed" if outcome.passed else "FAILED"
        print(
            f"{e.name:24}  {verdict}  lost {result.lost}  ghost {result.ghost}  "
            f"duplicated {result.duplicated}  stuck {result.stuck}  repeats {result.repeats}  "
            f"{seconds:.0f} s; without its remedy "
            f"{'it fails' if code_without == FAILED else 'IT DOES NOT FAIL'}",
            flush=True,
        )
    if not outcome.passed:
        print(words if code else words_without, file=sys.stderr)
    return outcome


def run(e: Experiment, tree: Path, *, full: bool) -> tuple[int, Result, str]:
    """Run the test of an experiment in a tree; return pytest's code, what it counted, its words."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        scale = ["--full"] if full else []
        done = run_test(e.node, tree, "--fault-report", report.name, *scale)
        text = Path(report.name).read_text()
    result = Result(**json.loads(text)) if text else Result()
    return done.returncode, result, done.stdout + done.stderr


if __name__ == "__main__":
    raise SystemExit(main())
