"""Environments for tests of what pip installs, filled with this machine's pip configuration."""

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
"""Prefixes of the variables that configure pip; all others are removed."""


def run(*command, code=0, **options):
    """Run a command and return its output, including stderr if it is expected to fail."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr if code else done.stdout


def pins():
    """Return each line of the lock as a constraint, without hashes, which our wheel lacks."""
    for one in PIN.finditer((ROOT / "requirements.lock").read_text("utf-8")):
        marker = f" ; {one['marker']}" if one["marker"] else ""
        yield one["name"], f"{one['name']}=={one['version']}{marker}"


def once_per_run(tmp_path_factory, name, make):
    """Return a folder that `make(folder)` fills for the first test process that asks for it.

    All processes of a run share it, because each would build the same wheel and environments, and
    one environment takes pip ten seconds of CPU time. A folder that failed partway is rebuilt.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent  # the folder of the run; each process has its own folder in there
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
    """Make an environment with these requirements and pip, and no other distribution.

    Releases come from the lock, so that a new release of another project breaks no test. Unless
    `compiled`, Python compiles only what the test imports.
    """
    constraints = [line for _, line in pins()] if constraints is None else constraints
    constraints_file = folder.with_name(f"{folder.name}-constraints.txt")
    constraints_file.write_text("".join(f"{line}\n" for line in constraints), "utf-8")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder))
    python = str(folder / "bin" / "python")
    words = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    env |= {name: value for name, value in os.environ.items() if name.startswith(KEPT)}
    words += () if compiled else ("--no-compile",)
    run(*words, *requirements, env={**env, "PIP_CONSTRAINT": str(constraints_file)})
    return python


def distributions(python):
    """Return the names of the distributions installed in an environment."""
    code = (
        "from importlib.metadata import distributions as all\n"
        "print(*sorted({one.metadata['Name'].lower().replace('_', '-') for one in all()}))"
    )
    return run(python, "-I", "-c", code).split()


def size_bytes(folder):
    """Return the total size of an environment's packages, including files that pip compiled."""
    files = (path for path in folder.glob("lib/*/site-packages/**/*") if path.is_file())
    return sum(path.stat().st_size for path in files)


class Installed:
    """An environment that contains only the wheel and its dependencies."""

    def __init__(self, folder):
        self.folder = folder

    def run(self, program, *words, folder=None, code=0, **env):
        """Run one of its programs and return its output."""
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
        """The path of the interpreter."""
        return self.path("python")

    def path(self, program):
        """Return the path of one of its programs."""
        return str(self.folder / "bin" / program)

    def _alone(self, env):
        return {name: value for name, value in env.items() if name != "PYTHONPATH"}
