"""Show that no test was dropped: `python -m tests.compare COMMIT`.

Collects the tests of that commit, and both lanes of this tree. Prints each earlier test that no
lane runs any more, and how many tests of each family only the exhaustive lane runs. Exits with 1
if a test is missing: name it in the change that removes it. A test that moved into
`tests/library` or `tests/service`, or from one to the other, does not count as missing.
"""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path

from tests.root import ROOT


def main(commit):
    """Compare the tests of a commit with those of this tree and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="workshed-compare-") as name:
        tree = Path(name) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            before = collect(tree, "--exhaustive")
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    every, sample = collect(ROOT, "--exhaustive"), collect(ROOT)
    missing = sorted((Counter(map(anywhere, before)) - Counter(map(anywhere, every))).elements())
    print(f"{len(before)} tests at {commit}, {len(every)} now; a sample is {len(sample)} of them")
    families = Counter(test.partition("[")[0] for test in every - sample)
    for family, count in families.most_common():
        print(f"  exhaustive lane only: {count:4} of {family}")
    for test in missing:
        print(f"  in no lane: {test}")
    return 1 if missing or not sample <= every else 0


def anywhere(test):
    """Return a test's id without its tree; the same name may exist in both trees."""
    return re.sub(r"\btests/(library|service)/", "tests/", test)


def collect(tree, *options):
    """Return the ids of the tests that a run in this folder would run."""
    project = tomllib.loads((tree / "pyproject.toml").read_text("utf-8"))["project"]
    kit = project["entry-points"]["pytest11"]["workshed"]
    plugins = ("-p", "pytest_timeout", "-p", "xdist", "-p", kit)
    command = [sys.executable, "-m", "pytest", *plugins, "--collect-only", "-q", *options]
    # Otherwise its tests would import this tree's code, and pytest this tree's plugin.
    env = {"PYTHONPATH": str(tree), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command,
        cwd=tree,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    # Some parameters are paths in the tree.
    return {line.replace(str(tree), "") for line in done.stdout.splitlines() if "::" in line}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
