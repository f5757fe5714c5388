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

What `python -m tests.faults --write docs/faults.md` wrote, on {machine}. Real workers, relays,
RabbitMQ and PostgreSQL on one machine; every job that was sent or committed is recorded, and every
effect it had, in a table without unique keys.

- **scale**: the loads are those of full scale; small is a tenth of it, or less. An experiment is
  measured anew by `--only NAME`, and keeps the others' rows.
- **lost**: sent or committed, and without effect. **ghost**: an effect of what was rolled back, or
  of nothing.
- **duplicated**: an effect of a `once` actor, or under a key, that happened twice. **plain**: what
  the plain actor beside them did again; it has no key, and at least once is what it is promised.
- **outside**: mails and requests that a server had twice, and in brackets how many may have come
  twice by the count of who sent them: of mails Workshed's, of requests the actor's own, which
  counts them as it asks. More outside than counted is harm.
- **stuck**: rows, locks and messages that are left when nothing runs any more. **threads**: threads
  that died.
- **drain**: from the last send until nothing was left, with what the experiment still did to it.
- **without**: the experiment was run once more, at small scale, with its remedy taken out of the
  processes it starts; it has to fail by the verdict that is named, which counted so many.

"""
COLUMNS = (
    *("#", "experiment", "fault", "load", "scale", "lost", "ghost", "duplicated", "plain"),
    *("outside", "stuck", "threads", "drain", "seconds", "without"),
)
EXTRAPOLATED = "extrapolated"
"""The names of extrapolated notes contain this."""
TAIL = """
A run's seed is printed and is in `faults.json`; `--seed` repeats what is drawn by it, which is
what is sent and what goes wrong, but not the moment at which something strikes.

What belongs to 25 and needs no load is tested by itself: that on the pages of the console what
comes from outside stays text (`test_evil_stays_text`).
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
    told = ((name, n) for name, n in one["notes"].items() if full or EXTRAPOLATED not in name)
    notes = [f"{name} {value:g}" for name, value in told]
    return f"- `{one['name']}`: {', '.join(notes)}\n" if notes else ""
