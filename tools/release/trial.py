"""A package in an empty environment: it installs, and runs a job on private servers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.release.errors import ReleaseError
from tools.release.programs import plain_environment, run_program

STOP_WITHIN_S = 120
MODULE = "trial_jobs"
FILES = {
    f"{MODULE}.py": """
from workshed import actor, db


@actor()
def note(number: int) -> None:
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.notes VALUES (%s)", (number,))
""",
    "prepare.py": """
from workshed import db

with db.transaction() as conn:
    conn.execute("CREATE TABLE public.notes (number integer)")
""",
    "send.py": f"from {MODULE} import note\n\nnote.send(42)\n",
    "see.py": """
import time

from workshed import db

deadline = time.monotonic() + 60
found = None
while not found and time.monotonic() < deadline:
    with db.transaction() as conn:
        found = conn.execute("SELECT number FROM public.notes").fetchall()
    time.sleep(0.1)
print(found)
""",
}
"""An application in a fresh folder."""
SEEN = "[(42,)]"


def install_package(package: Path, extras: str, environment: Path, lock: Path) -> Path:
    """Install a package into an empty environment, and return its Python.

    Dependencies have the versions and hashes of the lock, also those of a build.
    """
    folder, env = environment.parent, plain_environment()
    python = environment / "bin" / "python"
    uv = (sys.executable, "-m", "uv")
    run_program(*uv, "venv", "--quiet", "--python", sys.executable, environment, folder=folder)
    run_program(
        *(*uv, "pip", "install", "--quiet", f"--python={python}", f"--constraint={lock}"),
        *(f"--build-constraint={lock}", f"{package}[{extras}]"),
        folder=folder,
        env=env,
    )
    return python


def run_job(python: Path, version: str, folder: Path) -> None:
    """Run a job with an installed package; raise `ReleaseError` if it has no effect."""
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")
    workshed = python.with_name("workshed")
    if (said := run_program(workshed, "--version", folder=folder)) != f"workshed {version}\n":
        raise ReleaseError(f"{workshed} is not version {version}: it printed {said!r}")
    with start_servers(workshed, folder) as env:
        run_program(python, "prepare.py", folder=folder, env=env)
        log = folder / "worker.log"
        with start_program(workshed, "worker", MODULE, "-p", "1", env=env, log=log) as worker:
            run_program(python, "send.py", folder=folder, env=env)
            seen = run_program(python, "see.py", folder=folder, env=env).strip()
            worker.terminate()
            code = worker.wait(STOP_WITHIN_S)
    if (seen, code) != (SEEN, 0):
        raise ReleaseError(
            f"the job left {seen} in PostgreSQL instead of {SEEN}, and the worker ended with "
            f"{code}:\n{log.read_text('utf-8')}"
        )


@contextmanager
def start_servers(workshed: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Run private servers; yield the variables that name them."""
    log = folder / "servers.log"
    command = (workshed, "dev", "--fresh", "--json")
    env = plain_environment()
    with start_program(*command, env=env, log=log, output=subprocess.PIPE) as servers:
        line = servers.stdout.readline() if servers.stdout else b""
        if not line:
            raise ReleaseError(f"`workshed dev` did not start:\n{log.read_text('utf-8')}")
        said = json.loads(line)
        yield plain_environment(
            WORKSHED_BROKER_URL=said["broker_url"], WORKSHED_DATABASE_URL=said["database_url"]
        )


@contextmanager
def start_program(
    *command: str | Path, env: dict[str, str], log: Path, output: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program next to others; end it afterwards, whatever has happened."""
    with log.open("wb") as out:
        program = subprocess.Popen(
            command,
            cwd=log.parent,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output or out,
            stderr=out,
        )
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        if program.stdout:
            program.stdout.close()
