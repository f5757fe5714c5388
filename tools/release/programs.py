"""Programs that a release runs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.release.errors import ReleaseError

PASSED_ON = ("HOME", "LANG", "PATH", "TMPDIR")
"""Variables that a trial keeps; any other could change what it shows."""
PREFIXES = ("HTTP", "NO_PROXY", "SSL_", "UV_", "XDG_", "http", "no_proxy")
"""The same, for variables of the installer."""


def run_program(
    *command: str | Path, folder: Path, env: Mapping[str, str] | None = None, umask: int = -1
) -> str:
    """Run a program and return its output; raise `ReleaseError` with all of it if it fails."""
    done = subprocess.run(
        command, cwd=folder, env=env, umask=umask, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise ReleaseError(f"`{words}` failed ({done.returncode}):\n{done.stdout}{done.stderr}")
    return done.stdout


def run_git(root: Path, *words: str) -> str:
    """Query a repository, whichever user owns it."""
    return run_program("git", "-c", f"safe.directory={root}", *words, folder=root)


def plain_environment(**added: str) -> dict[str, str]:
    """Return the variables of a trial, with some more."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith(PREFIXES)
    }
    return {**kept, **added}
