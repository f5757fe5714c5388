"""Environments for tests of what pip installs: made and filled as this machine configures pip."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>.+?))?(?: \\)?$",
    re.MULTILINE,
)
KEPT = ("PIP_", "XDG_", "HTTP", "http", "SSL_", "REQUESTS_", "NO_PROXY", "no_proxy")
"""What configures pip, and nothing else of the environment."""


def run(*command, **options):
    """Run a command to its end; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pins():
    """Return each line of the lock as a constraint: without its hashes, which a wheel lacks."""
    for one in PIN.finditer((ROOT / "requirements.lock").read_text("utf-8")):
        marker = f" ; {one['marker']}" if one["marker"] else ""
        yield one["name"], f"{one['name']}=={one['version']}{marker}"


def once_per_run(tmp_path_factory, name, make):
    """Return the folder that `make(folder)` fills, for the first test process that asks for it.

    All processes of a run share it: each would build the same wheel and the same environments, of
    which one takes pip ten seconds of a processor. One that failed half-way is made from nothing.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # the folder of the run; each process has one of its own in there
    folder, made = place / name, place / f"{name}.made"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            made.touch()
    return folder


def environment(folder, *requirements, constraints=None, compiled=True):
    """Make an environment with these requirements, and no other distribution but pip's own.

    The lock says which releases, so that a new one of another project fails no test. Where it is
    not `compiled`, Python compiles only what the test imports.
    """
    constraints = [line for _, line in pins()] if constraints is None else constraints
    told = folder.with_name(f"{folder.name}-constraints.txt")
    told.write_text("".join(f"{line}\n" for line in constraints), "utf-8")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    words = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    env |= {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    words += () if compiled else ("--no-compile",)
    run(*words, *requirements, env={**env, "PIP_CONSTRAINT": str(told)})
    return python


def distributions(python):
    """Name what is installed in an environment."""
    code = (
        "from importlib.metadata import distributions as all\n"
        "print(*sorted({one.metadata['Name'].lower().replace('_', '-') for one in all()}))"
    )
    return run(python, "-I", "-c", code).split()


def size_bytes(folder):
    """Add up the files of an environment's packages, those that pip compiled included."""
    files = (path for path in folder.glob("lib/*/site-packages/**/*") if path.is_file())
    return sum(path.stat().st_size for path in files)
