"""The page of the campaign's results, and the JSON file from which it is generated."""

import json
import os
import platform
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.experiment import Experiment
from tests.faults.outcome import Outcome

HEAD = """# The fault campaign

The campaign breaks things on purpose, so that you can check what Workshed promises your jobs.
Each experiment runs real workers, relays, RabbitMQ and PostgreSQL on one machine, kills them, cuts
them off or corrupts them, and then counts. It records every job that was sent or committed, and
every effect of a job, in a table without unique keys.

All numbers on this page come from `python -m tests.faults --write docs/faults.md`, on {machine}.
To check one yourself, run `python -m tests.faults --only NAME`. That runs a tenth of the load, or
less, by default; for the loads below, add `--scale full`. With `--write`, a run replaces the row of
its experiment and keeps all others.

How to read the columns:

- **lost**: jobs that were sent or committed and had no effect. You should see 0.
- **ghost**: effects of jobs that were rolled back or never sent. You should see 0.
- **duplicated**: effects of a `once=True` actor, or under a key, that happened more than once. You
  should see 0.
- **plain**: repeated effects of the plain actor in the same run. It has no key, so it is
  at-least-once, and you may see repeats. For example, a worker that is killed after the job and
  before the ack causes one.
- **outside**: emails and requests that an external server received more than once. The number in
  brackets is how many the sender counted as possible duplicates: Workshed counts emails, and the
  actor counts its own requests. It must be at least as large as the first number.
- **stuck**: rows, locks and messages that are left when nothing runs any more, and that you would
  have to clean up by hand. You should see 0.
- **threads**: worker threads that died, so that your worker would run fewer jobs. You should see 0.
- **drain**: the time from the last send until no job was left, while the fault went on.
- **without**: the verdict of a second run, at small scale, with the safeguard disabled in the
  processes that it starts. It must fail, by the verdict and the count that you see here. Otherwise
  the experiment would prove nothing.

"""
COLUMNS = (
    *("#", "experiment", "fault", "load", "scale", "lost", "ghost", "duplicated", "plain"),
    *("outside", "stuck", "threads", "drain", "seconds", "without"),
)
EXTRAPOLATED = "extrapolated"
"""The names of extrapolated notes contain this."""
TAIL = """
Each run prints its seed, and `faults.json` keeps it. With `--seed` you repeat the random choices of
a run, for example which jobs are sent and which fault hits them. You cannot repeat the exact moment
at which a fault strikes.

One promise of number 25 needs no load and has a test of its own: the console shows values from
outside as text (`test_evil_stays_text`).
"""

Record = dict[str, Any]
"""The stored form of an outcome."""


class Results:
    """The page and its JSON file; each outcome is stored as it arrives."""

    def __init__(self, page: Path, known: Sequence[Experiment]) -> None:
        """Use existing results, except those of experiments that no longer exist."""
        self._page = page
        self._known = known
        self._lock = threading.Lock()

    @property
    def file(self) -> Path:
        """The JSON file with the records by the names of their experiments."""
        return self._page.with_suffix(".json")

    def read(self) -> dict[str, Record]:
        """Return the records in the order of the experiments."""
        found = json.loads(self.file.read_text()) if self.file.exists() else {}
        return {e.name: found[e.name] for e in self._known if e.name in found}

    def keep(self, outcome: Outcome, scale: str) -> None:
        """Store an outcome and rewrite both files."""
        with self._lock:
            records = self.read() | {outcome.experiment.name: record(outcome, scale)}
            self.file.write_text(json.dumps(records, indent=1) + "\n")
            self._page.write_text(page(list(self.read().values())))


def record(outcome: Outcome, scale: str) -> Record:
    """Return the stored form of an outcome."""
    fields = outcome.as_json() | {"fails_without": outcome.fails_without}
    without = fields.pop("without")
    seed = without["seed"] if isinstance(without, dict) else None
    return fields | {
        "without_seed": seed,
        "scale": scale,
        "day": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
    }


def page(records: Sequence[Record]) -> str:
    """Return the results as Markdown."""
    rows = [COLUMNS, ["-" for _ in COLUMNS], *(cells(one) for one in records)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    notes = "".join(map(remarks, records))
    return HEAD.format(machine=machines(records)) + table + (f"\n{notes}" if notes else "") + TAIL


def machines(records: Sequence[Record]) -> str:
    """Describe the machines, Python versions and days of all records."""
    days = sorted({one["day"] for one in records})
    pythons = sorted({one["python"] for one in records})
    cores = sorted({str(one["cores"]) for one in records})
    return f"{' and '.join(cores)} cores, Python {' and '.join(pythons)}, {', '.join(days)}"


def cells(one: Record) -> list[str]:
    """Return the table row of an experiment."""
    number = one["fails_without"]
    without = f"{one['fails_by']} {number}".replace("_", " ") if number else "**passes**"
    drain = one["drain_s"]
    verdict = "" if one["passed"] or not number else " **failed**"
    return [
        *(str(one["number"]), f"`{one['name']}`", one["fault"], one["load"]),
        one["scale"] + verdict,
        *(str(one[what]) for what in ("lost", "ghost", "duplicated", "repeats")),
        f"{one['outside']} ({one['counted']})",
        *(str(one[what]) for what in ("stuck", "threads_dead")),
        "" if drain is None else f"{drain:.0f} s",
        f"{one['seconds']:.0f}",
        without,
    ]


def remarks(one: Record) -> str:
    """Return an experiment's further counts as a line.

    Nothing is extrapolated from small runs, which take less than a minute.
    """
    full = one["scale"] == "full"
    measured = ((name, n) for name, n in one["notes"].items() if full or EXTRAPOLATED not in name)
    notes = [f"{name} {value:g}" for name, value in measured]
    return f"- `{one['name']}`: {', '.join(notes)}\n" if notes else ""
