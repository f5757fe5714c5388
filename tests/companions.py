"""Third-party packages that some tests use, installed by pip into a cache outside the tree."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "workshed" / "companions"
LONGEST_S = 300


def installed(*requirements):
    """Return a folder for `PYTHONPATH` with only packages such as `pytest-django==4.14.0`.

    Their dependencies come from the environment, so that they run with the tested versions.
    """
    words = (*requirements, sys.version)
    folder = CACHE / hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may install at once
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as name:
                target = Path(name, "packages")
                run("install", "--no-deps", "--target", str(target), *requirements)
                target.rename(folder)
    return folder


def run(*words):
    """Run pip with this machine's configuration; raises with its output."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sources(requirement):
    """Return the folder of a source distribution such as `dramatiq==2.2.1`, unpacked."""
    name, _, version = requirement.partition("==")
    folder = CACHE / f"{name}-{version}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                run("download", "--no-deps", "--no-binary", name, "--dest", scratch, requirement)
                [archive] = Path(scratch).glob("*.tar.gz")
                with tarfile.open(archive) as packed:
                    packed.extractall(scratch, filter="data")
                Path(scratch, folder.name).rename(folder)
    return folder
