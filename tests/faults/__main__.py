"""Run the fault campaign: `python -m tests.faults [--list] [--only NAME] [--scale full] [--json]`.

Each experiment runs twice: as it is, and with its remedy taken out of the processes it starts. The
second run must fail by the verdict that the experiment names. The exit code is 1 if a first run
did not pass or a second one did not fail.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import TRANSPORTS
from tests.faults.experiment import Experiment, all_experiments
from tests.faults.outcome import Outcome, measured
from tests.faults.table import Results

AT_A_TIME = {"small": 4, "full": 1}
"""Small experiments mostly wait; those at full scale need both cores."""


def main() -> int:
    """Parse the command line, run the experiments, and report."""
    words = arguments()
    known = all_experiments()
    if unknown := set(words.only) - set(known):
        print(f"no experiment {min(unknown)!r}; there are: {', '.join(known)}")
        return 2
    chosen = [
        e
        for name, e in known.items()
        if (not words.only or name in words.only)
        and not (e.needs_rabbitmq and words.transport == "postgresql")
    ]
    if words.list:
        show_list(chosen, as_json=words.json)
        return 0
    results = Results(words.write, list(known.values())) if words.write else None
    outcomes, began = [], time.monotonic()
    for outcome in run(chosen, words, results):
        outcomes.append(outcome)
        if not words.json:
            print(outcome.line(), flush=True)
        if not outcome.passed:
            print(outcome.words, file=sys.stderr)
    if words.json:
        print(json.dumps({"experiments": [o.as_json() for o in outcomes]}, indent=2))
    else:
        passed, took = sum(o.passed for o in outcomes), int(time.monotonic() - began)
        print(
            f"{passed} of {len(outcomes)} passed in {took // 60} min {took % 60} s, "
            f"{words.jobs} at a time"
        )
    return 0 if all(o.passed for o in outcomes) else 1


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--list", action="store_true", help="name the experiments, run none")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="run this one")
    parser.add_argument("--scale", choices=["small", "full"], default="small")
    parser.add_argument(
        "--transport",
        choices=TRANSPORTS,
        default=TRANSPORTS[0],
        help="run those that do not need RabbitMQ with PostgreSQL alone",
    )
    parser.add_argument("--seed", type=int, help="that of an earlier run")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="run N at a time: 4, and at full scale 1"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the results on this page")
    words = parser.parse_args()
    if words.write and words.transport != TRANSPORTS[0]:
        parser.error("the page has the results with RabbitMQ; use --json")
    if words.jobs is None:
        words.jobs = AT_A_TIME[words.scale]
    return words


def show_list(chosen: list[Experiment], *, as_json: bool) -> None:
    """Print the experiments."""
    if as_json:
        names = ("name", "number", "fault", "load", "fails_by")
        rows = [{name: getattr(e, name) for name in names} for e in chosen]
        print(json.dumps({"experiments": rows}, indent=2))
        return
    for e in chosen:
        print(f"{e.number:2}  {e.name:24}  {e.fault}; {e.load}")


def run(
    chosen: list[Experiment], words: argparse.Namespace, results: Results | None
) -> Iterator[Outcome]:
    """Run experiments in parallel; yield each outcome once it and all earlier ones are known."""
    options = [f"--transport={words.transport}"]
    if words.seed is not None:
        options.append(f"--fault-seed={words.seed}")

    def one(e: Experiment) -> Outcome:
        outcome = measured(e, words.scale == "full", options)
        if results:
            results.keep(outcome, words.scale)  # at once: a campaign of hours may be interrupted
        return outcome

    with ThreadPoolExecutor(words.jobs) as pool:
        yield from pool.map(one, chosen)


if __name__ == "__main__":
    raise SystemExit(main())
