"""Run tests on each supported platform: `python -m tests.matrix [--only 3.14] [--step boot]`.

Python 3.11 and 3.13 run on this host, with its RabbitMQ. Python 3.14 and 3.15 run in a root file
system of Debian's next release, which only root can make and enter. Each row has an environment of
its own, and a clone of the last commit with your changes to tracked files. Root file system and
environments stay in `${XDG_CACHE_HOME:-~/.cache}/workshed/matrix`; logs are in
`var/matrix/PYTHON/STEP.log`. The run ends with one table; the exit code is 1 if a step failed.
"""

import argparse
import fcntl
import os
import subprocess
import sys
from pathlib import Path

from tests.matrix.row import ROOT, Row
from tests.matrix.table import (
    NOT_RUN,
    PLATFORMS,
    STEPS,
    Platform,
    Result,
    UnknownError,
    chosen_platforms,
    chosen_steps,
    rows,
)

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(words: list[str] | None = None) -> int:
    """Parse the command line, run the rows, and print the table."""
    asked = parser().parse_args(words)
    try:
        platforms = chosen_platforms(asked.only, part=asked.part)
        steps = chosen_steps(asked.step, part=asked.part)
    except UnknownError as err:
        print(err, file=sys.stderr)
        return EXIT_USAGE
    if refusal := refused(platforms, is_root=os.geteuid() == 0):
        print(refusal, file=sys.stderr)
        return EXIT_USAGE
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another run of the matrix uses {cache}", file=sys.stderr)
            return EXIT_USAGE
        results: list[Result] = []
        try:
            # The newest first: what has changed there fails most often.
            for platform in reversed(platforms):
                results += Row(platform, cache, ROOT / "var" / "matrix", part=asked.part).run(steps)
        except subprocess.CalledProcessError as err:
            print(err, file=sys.stderr)
            return EXIT_FAILED
        finally:
            print("\n".join(["", *rows(results)]))
            print("\n".join(f"not run: {what}: {reason}" for what, reason in NOT_RUN.items()))
    return 0 if all(result.is_ok for result in results) else EXIT_FAILED


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    pythons, steps = [p.python for p in PLATFORMS], [step.name for step in STEPS]
    found.add_argument(
        "--only", action="append", default=[], metavar="PYTHON", help=f"one of {', '.join(pythons)}"
    )
    found.add_argument(
        "--step", action="append", default=[], metavar="STEP", help=f"one of {', '.join(steps)}"
    )
    found.add_argument("--part", action="store_true", help="what CI runs, in ten minutes")
    return found


def refused(platforms: list[Platform], *, is_root: bool) -> str | None:
    """Return the reason, in one sentence, why these rows cannot run; `None` if they can."""
    needing = [platform.python for platform in platforms if platform.in_root]
    if is_root or not needing:
        return None
    others = " ".join(f"--only {p.python}" for p in PLATFORMS if not p.in_root)
    return (
        f"Only root can make the root file system in which Python {' and '.join(needing)} run; "
        f"become root, or run `python -m tests.matrix {others}`."
    )


def cache_folder() -> Path:
    """Return the folder that stays between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "workshed" / "matrix"


if __name__ == "__main__":
    raise SystemExit(main())
