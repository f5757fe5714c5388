"""Environments for tests of what pip installs: made and filled as this machine configures pip."""

import fcntl
import os
import re
import shutil
import subprocess
import sys

from tests.root import ROOT

PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>.+?))?(?: \\)?$",
    re.MULTILINE,
)
KEPT = ("PIP_", "XDG_", "HTTP", "http", "SSL_", "REQUESTS_", "NO_PROXY", "no_proxy")
"""What configures pip, and nothing else of the environment."""


def run(*command, code=0, **options):
    """Run a command to its end; return what it printed, also its errors where it is to fail."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


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


class Installed:
    """An environment in which there is the wheel with what it needs, and nothing else."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, program, *words, folder=None, code=0, **env):
        """Run one of its programs to its end; what it printed."""
        env = self._alone(os.environ | env)
        return run(self.path(program), *words, code=code, cwd=folder or self.folder, env=env)

    def start(self, program, *words, env, log):
        """Start one of its programs as the leader of a process group."""
        command = [self.path(program), *words]
        with log.open("ab") as out:
            return subprocess.Popen(
                command,
                cwd=log.parent,
                env=self._alone(env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def python(self):
        """The interpreter."""
        return self.path("python")

    def path(self, program):
        """Name one of its programs."""
        return str(self.folder / "bin" / program)

    def _alone(self, env):
        return {name: value for name, value in env.items() if name != "PYTHONPATH"}
