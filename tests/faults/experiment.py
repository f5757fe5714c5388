"""What a fault experiment is: a test with a name, a fault, a load, and the remedy it proves."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

LONGEST_S = 3600
LEFT_OUT = (".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "dist", "var")
FAILED = 1
"""pytest's code for tests that failed; an error of another kind proves nothing."""

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Remedy:
    """The lines of the product that keep a fault from doing harm, and what stands there without."""

    file: str
    old: str
    new: str

    def remove(self, tree: Path) -> None:
        """Take it out of a copy of the project."""
        path = tree / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, (
            f"{self.file} has {text.count(self.old)} times {self.old!r}"
        )
        path.write_text(text.replace(self.old, self.new))


KEY = Remedy(
    "middleware/once.py",
    "if effects.claim(conn, scope, job.message_id, job.message_id):",
    "if True:",
)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A fault and a load; `remedy` is removed to see that the experiment can fail."""

    name: str
    fault: str
    load: str
    remedy: Remedy
    node: str
    """The test, as pytest names it."""


@dataclass(slots=True)
class Result:
    """What came of it, in jobs."""

    lost: int = 0
    """Sent, and without effect."""
    ghost: int = 0
    """An effect of what nobody sent, or what was rolled back."""
    duplicated: int = 0
    """Effects under a key that happened more than once."""
    stuck: int = 0
    """Rows, locks and messages that are left when nothing runs any more."""
    repeats: int = 0
    """Effects of plain actors that happened again: at least once is what they have."""
    notes: dict[str, float] = field(default_factory=dict)

    @property
    def harm(self) -> int:
        """All that must be 0."""
        return self.lost + self.ghost + self.duplicated + self.stuck

    def as_json(self) -> dict[str, object]:
        """Return the fields as they are reported."""
        return asdict(self)


EXPERIMENTS: dict[str, Experiment] = {}


def experiment(
    name: str, *, fault: str, load: str, remedy: Remedy
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Enter a test in the campaign."""

    def enter(test: Callable[..., None]) -> Callable[..., None]:
        file = Path(test.__code__.co_filename).relative_to(ROOT)
        node = f"{file}::{test.__name__}"
        EXPERIMENTS[name] = Experiment(name, fault, load, remedy, node)
        return test

    return enter


def copy_of_the_project(folder: Path) -> Path:
    """Copy the project into a folder that servers of other users can enter."""
    folder.chmod(0o755)
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return tree


def run_test(node: str, tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run one test in a tree, with this environment's programs."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node, *options],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
