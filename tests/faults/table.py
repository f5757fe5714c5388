"""The page of the campaign's results."""

import os
import platform
import time
from collections.abc import Sequence

from tests.faults.outcome import Outcome

HEAD = """# The fault campaign

What `python -m tests.faults --scale {scale} --write docs/faults.md` wrote on {day}, on {cores}
cores, Python {python}. Real worker processes, relays, RabbitMQ and PostgreSQL on one machine; every
job that was sent or committed is recorded, and every effect it had, in a table without unique keys.

- **lost**: sent or committed, and without effect. **ghost**: an effect of what was rolled back, or
  of nothing.
- **duplicated**: an effect of a `once` actor, or under a key, that happened twice. **plain**: what
  the plain actor beside them did again; it has no key, and at least once is what it is promised.
- **outside**: mails and requests that a server had twice, and how many of them Workshed itself
  counts as such.
- **stuck**: rows, locks and messages that are left when nothing runs any more. **threads**: threads
  that died.
- **drain**: from the last send until nothing was left.
- The loads are those of full scale{smaller}.
- **without**: the experiment was run once more, at small scale, with its remedy taken out of the
  processes it starts; it has to fail by the verdict that is named, which counted so many.

"""
COLUMNS = (
    *("#", "experiment", "fault", "load", "lost", "ghost", "duplicated", "plain", "outside"),
    *("stuck", "threads", "drain", "seconds", "without"),
)
EXTRAPOLATED = "extrapolated"
"""What the name of such a note has."""
TAIL = "\nA run's seed is printed and is in its JSON; `--seed` repeats it.\n"


def page(outcomes: Sequence[Outcome], scale: str) -> str:
    """Return the results as Markdown."""
    head = HEAD.format(
        scale=scale,
        smaller="" if scale == "full" else "; at small scale they are a tenth of it, or less",
        day=time.strftime("%Y-%m-%d"),
        cores=os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(),
        python=platform.python_version(),
    )
    rows = [COLUMNS, ["-" for _ in COLUMNS], *(cells(outcome) for outcome in outcomes)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    notes = "".join(remarks(outcome, scale) for outcome in outcomes)
    return head + table + (f"\n{notes}" if notes else "") + TAIL


def cells(outcome: Outcome) -> list[str]:
    """Return the row of an experiment."""
    e, r = outcome.experiment, outcome.run.result
    without = f"{e.fails_by} {outcome.fails_without}" if outcome.fails_without else "**passes**"
    if r is None:
        return [str(e.number), f"`{e.name}`", e.fault, e.load, *["**failed**"] * 9, without]
    return [
        *(str(e.number), f"`{e.name}`", e.fault, e.load),
        *(str(n) for n in (r.lost, r.ghost, r.duplicated, r.repeats)),
        f"{r.outside} ({r.counted})",
        *(str(n) for n in (r.stuck, r.threads_dead)),
        "" if r.drain_s is None else f"{r.drain_s:.0f} s",
        f"{outcome.seconds:.0f}",
        without.replace("_", " "),
    ]


def remarks(outcome: Outcome, scale: str) -> str:
    """Return what an experiment counted beside that, as a line.

    From less than a minute nothing is extrapolated.
    """
    found = outcome.run.result.notes.items() if outcome.run.result else ()
    told = ((name, value) for name, value in found if scale == "full" or EXTRAPOLATED not in name)
    notes = [f"{name} {value:g}" for name, value in told]
    if not notes:
        return ""
    return f"- `{outcome.experiment.name}`: {', '.join(notes)}\n"
