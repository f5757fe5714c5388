"""Programs of two releases beside each other, and what the one before was."""

import os
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.root import ROOT

SHIPPED = ("actors", "brokers", "console", "middleware", "shop", "workshed")
"""What a release has; `console` was a package of its own once."""
MIGRATIONS = (
    "workshed/sql",
    *(f"workshed/contrib/{name}/sql" for name in ("storage", "mail", "notifications")),
    "shop/sql",
)
JOBS = "workshed/sql"
OLDEST = Path(__file__).parent / "oldest_release"
"""A file with the commit: its modules and commands have the names of today."""
ARCHIVE = "TESTED_FROM_ARCHIVE"
SENDING = (Path(__file__).parent / "sending.py").read_text()


class Sender:
    """A program that sends jobs of its release all the time, and notes what is sent."""

    def __init__(self, warm, folder, name, env, first):
        (folder / "sending.py").write_text(SENDING)
        self._stop, self._notes = folder / f"{name}.stop", folder / f"{name}.sent"
        self._notes.touch()
        self._log = folder / f"{name}.log"
        words = (str(self._stop), str(self._notes), str(first))
        self.process = warm.start("sending", *words, env={**os.environ, **env}, log=self._log)

    def sent(self):
        """Return the kind and number of each job whose `send` has returned."""
        lines = self._notes.read_text().splitlines()
        return {(kind, int(number)) for kind, number in map(str.split, lines)}

    def stop(self):
        """Let it end after the job that it sends now."""
        self._stop.touch()
        assert self.process.wait(120) == 0, self._log.read_text()

    def end(self):
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait(60)


@pytest.fixture
def start_sender(warm, environment, broker, tmp_path):
    """`start_sender(path, first=0)`: with this path of modules; numbers count from `first`."""
    senders = []

    def start(path, first):
        env = {**environment, "PYTHONPATH": path}
        sender = Sender(warm, tmp_path, f"sender-{len(senders)}", env, first)
        senders.append(sender)
        return sender

    yield start
    for sender in senders:
        sender.end()


def before_this_code():
    """Name the newest commit whose shipped code is not the one that is here, if that is known."""
    if _git("diff", "--quiet", "HEAD", "--", *SHIPPED).returncode == 1:
        return "HEAD"
    return _parent_of("rev-list", "-1", "HEAD", "--", *SHIPPED)


def before_the_last_migration():
    """Name the commit before the one that has added the newest file of a migration, likewise.

    None is older than `OLDEST`: from there to here, `with_a_migration` makes one up.
    """
    added = ("log", "-1", "--diff-filter=A", "--format=%H")
    found = _parent_of(*added, "--", *(f"{folder}/*.sql" for folder in MIGRATIONS))
    return oldest() if found and is_before_all_releases(found) else found


def oldest():
    """Name the first commit that can be upgraded from; no release came before it."""
    return OLDEST.read_text("utf-8").strip()


def is_before_all_releases(commit):
    """Whether a commit is older than the oldest from which an upgrade is tested."""
    return _git("merge-base", "--is-ancestor", oldest(), commit).returncode != 0


def with_a_migration(folder):
    """Lay the shipped code that is here into a folder, with one migration more."""
    unpack_here(folder)
    newest = max(path.name for path in (folder / JOBS).glob("*.sql"))
    made_up = folder / JOBS / f"{int(newest[:4]) + 1:04}_made_up.sql"
    made_up.write_text("ALTER TABLE workshed.schedule ADD COLUMN made_up integer;\n")


def unpack(commit, folder):
    """Lay the shipped code of a commit into a folder.

    Where this was unpacked from an archive, and the environment says so, there is none, and a
    release is replaced by itself.
    """
    folder.mkdir()
    if commit is None:
        assert os.environ.get(ARCHIVE), (
            "no earlier commit of this code is known, as in a shallow clone: run `git fetch "
            f"--unshallow`; or, where all of it is from an archive, say so by {ARCHIVE}=1"
        )
        folder.rmdir()
        unpack_here(folder)
        return
    had = _git("ls-tree", "--name-only", commit).stdout.decode().split()
    archive = _git("archive", commit, "--", *(name for name in SHIPPED if name in had))
    assert archive.returncode == 0, archive.stderr.decode()
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")


def adds_a_migration(folder):
    """Whether the code that is here has a migration that the code in a folder lacks."""
    return _migrations(ROOT) > _migrations(folder)


def is_same_code(one, other):
    """Whether two folders have the same shipped code."""
    return _texts(one) == _texts(other)


def _migrations(folder):
    files = (path for name in MIGRATIONS for path in (folder / name).rglob("*.sql"))
    return {str(path.relative_to(folder)) for path in files}


def _texts(folder):
    files = (path for name in SHIPPED for path in (folder / name).rglob("*.*") if path.is_file())
    texts = (path for path in files if path.suffix in {".py", ".sql"})
    return {str(path.relative_to(folder)): path.read_bytes() for path in texts}


def unpack_here(folder):
    """Lay the shipped code that is here into a folder."""
    for name in SHIPPED:
        if (ROOT / name).exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)


def _parent_of(*words):
    found = _git(*words).stdout.decode().strip()
    parent = f"{found}^"
    known = found and _git("rev-parse", "--verify", "--quiet", parent).returncode == 0
    return parent if known else None


def _git(*words):
    """Ask about the repository that this folder is the root of, whoever owns it."""
    ours = {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    try:
        return subprocess.run(command, env={**os.environ, **ours}, capture_output=True, check=False)
    except FileNotFoundError as err:
        return subprocess.CompletedProcess(command, 127, b"", str(err).encode())
