"""Run the site's generator."""

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.website.staging import Stage

LONGEST_S = 600
"""Longer than any build; it takes a few seconds."""


class BuildError(Exception):
    """The generator failed, or warned; the message has what it printed."""


def build_site(target: Path) -> None:
    """Build the site in the folder `target`, which is replaced.

    Raises `BuildError` on the first warning, and `DeadLinkError` for a link to a missing file.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        Stage(folder).write()
        run_generator(folder)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "site", target)


def run_generator(folder: Path) -> None:
    """Build the site of `folder`, which has `mkdocs.yml` and `docs/`, in its folder `site`.

    Raises `BuildError` on the first warning, for example of a link to a missing heading.
    """
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=LONGEST_S,
    )
    if done.returncode or "warning" in done.stdout.lower():
        raise BuildError(done.stdout)
