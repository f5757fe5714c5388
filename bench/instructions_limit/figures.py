"""The committed figures, one for each interpreter, and the comparison with them.

A figure is a ratio: how many rounds of a fixed loop of Python (`bench/jobs/fixed_loop.py`) cost as
many instructions as one job. Both are counted in the same run, so what makes an interpreter slow
in general, for example the options of its compiler, is in both.
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

FIGURES_FILE = Path(__file__).parent / "figures.json"
TOLERANCE = 0.03
LOOSE_TOLERANCE = 0.1
"""For an interpreter without a figure: the ratios of five interpreters were 7 % apart."""
COMMAND = "python -m bench.instructions_limit --write"


@dataclass(frozen=True)
class JobCost:
    """The instructions of a job, and those of a round of the fixed loop."""

    job: int
    loop_round: int

    @property
    def ratio(self) -> float:
        """Return how many rounds cost as much as one job."""
        return self.job / self.loop_round

    def __str__(self) -> str:
        """Return the figure in words."""
        return f"{self.ratio:.3f} rounds of the fixed loop ({self.job:,} instructions)"


@dataclass(frozen=True)
class Verdict:
    """What the comparison says, and whether it lets a change pass."""

    is_ok: bool
    text: str


def describe_interpreter() -> str:
    """Name the running interpreter, its compiler and the platform: the key of a figure."""
    words = platform.python_implementation(), platform.python_version()
    return f"{' '.join(words)}, {platform.python_compiler()}, {platform.machine()}"


def read_figures(path: Path = FIGURES_FILE) -> dict[str, JobCost]:
    """Return the committed figures, by interpreter."""
    if not path.exists():
        return {}
    return {name: JobCost(**cost) for name, cost in json.loads(path.read_text("utf-8")).items()}


def write_figure(interpreter: str, cost: JobCost, path: Path = FIGURES_FILE) -> None:
    """Store the figure of an interpreter; those of others stay."""
    figures = read_figures(path) | {interpreter: cost}
    stored = {name: asdict(figures[name]) for name in sorted(figures)}
    path.write_text(json.dumps(stored, indent=2) + "\n", "utf-8")


def compare(interpreter: str, cost: JobCost, figures: Mapping[str, JobCost]) -> Verdict:
    """Compare a cost with the figure of its interpreter, or loosely with that of another."""
    if not figures:
        return Verdict(
            is_ok=False,
            text=f"NOT CHECKED: no figure is committed. A no-op job costs {cost} here. Run "
            f"`{COMMAND}` and commit {FIGURES_FILE.name}.",
        )
    if interpreter not in figures:
        return compare_loosely(interpreter, cost, figures)
    committed = figures[interpreter]
    change = cost.ratio / committed.ratio - 1
    numbers = f"a no-op job costs {cost}, {change:+.1%} compared with the committed {committed}"
    if change > TOLERANCE:
        return Verdict(
            is_ok=False,
            text=f"TOO MANY: {numbers}. Find what was added (docs/performance.md, Instructions). "
            f"If it is worth its cost, run `{COMMAND}`, and say in the commit what it is for.",
        )
    if change < -TOLERANCE:
        return Verdict(
            is_ok=False,
            text=f"FEWER THAN COMMITTED: {numbers}. So that it stays, run `{COMMAND}` and commit "
            f"{FIGURES_FILE.name}.",
        )
    return Verdict(is_ok=True, text=f"within {TOLERANCE:.0%}: {numbers}")


def compare_loosely(interpreter: str, cost: JobCost, figures: Mapping[str, JobCost]) -> Verdict:
    """Compare with the figure of another interpreter, if possible one of the same version."""
    other = min(figures, key=lambda name: (not is_same_version(name, interpreter), name))
    change = cost.ratio / figures[other].ratio - 1
    text = (
        f"no figure of {interpreter} is committed, so up to {LOOSE_TOLERANCE:.0%} more than that "
        f"of {other} is allowed. A no-op job costs {cost} here, and {figures[other]} there: "
        f"{change:+.1%}. To check within {TOLERANCE:.0%} on this interpreter, run `{COMMAND}` on "
        f"a commit that passes on {other}, and commit {FIGURES_FILE.name}"
    )
    is_ok = change <= LOOSE_TOLERANCE
    return Verdict(is_ok, f"{'LOOSELY CHECKED' if is_ok else 'TOO MANY'}: {text}.")


def is_same_version(one: str, other: str) -> bool:
    """Return whether two names are of the same implementation and feature version."""
    versions = [name.partition(",")[0].rpartition(".")[0] for name in (one, other)]
    return versions[0] == versions[1]
