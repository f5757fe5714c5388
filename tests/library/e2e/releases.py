"""Programs of two releases side by side, and which release was the previous one."""

import os
import re
import shutil
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from tests.root import ROOT
from tools.release.changelog import list_releases
from workshed import __version__

SHIPPED = ("actors", "brokers", "console", "middleware", "shop", "workshed")
"""The packages of a release; `console` was once a package of its own."""
MIGRATIONS = (
    "workshed/sql",
    *(f"workshed/contrib/{name}/sql" for name in ("storage", "mail", "notifications")),
    "shop/sql",
)
JOBS = "workshed/sql"
OLDEST = Path(__file__).parent / "oldest_release"
"""A file with the commit, whose modules and commands have today's names."""
ARCHIVE = "TESTED_FROM_ARCHIVE"
SENDING = (Path(__file__).parent / "sending.py").read_text()


class Sender:
    """A program that keeps sending jobs of its release, and notes what is sent."""

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
    """`start_sender(path, first)`: one with this module path; numbers count from `first`."""
    senders = []

    def start(path, first):
        env = {**environment, "PYTHONPATH": path}
        sender = Sender(warm, tmp_path, f"sender-{len(senders)}", env, first)
        senders.append(sender)
        return sender

    yield start
    for sender in senders:
        sender.end()


def release_before():
    """Return the tag of the newest release in the changelog before the version that is here.

    It is `OLDEST` if there is none, and `None` if the tag is not known, for example in a clone
    without tags.
    """
    earlier = [one for one in list_releases(ROOT) if numbers(one) < numbers(__version__)]
    if not earlier:
        return oldest()
    tag = f"v{max(earlier, key=numbers)}"
    known = _git("rev-parse", "--verify", "--quiet", f"refs/tags/{tag}^{{commit}}")
    return tag if known.returncode == 0 else None


def numbers(version):
    """Return the numbers of a version, without those of a pre-release."""
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def before_this_code():
    """Return the newest commit whose shipped code differs from what is here, if that is known."""
    if _git("diff", "--quiet", "HEAD", "--", *SHIPPED).returncode == 1:
        return "HEAD"
    return _parent_of("rev-list", "-1", "HEAD", "--", *SHIPPED)


def before_the_last_migration():
    """Return the commit before the one that added the newest migration, if that is known.

    It is never older than `OLDEST`: from there to here, `with_a_migration` makes one up.
    """
    added = ("log", "-1", "--diff-filter=A", "--format=%H")
    found = _parent_of(*added, "--", *(f"{folder}/*.sql" for folder in MIGRATIONS))
    return oldest() if found and is_before_all_releases(found) else found


def oldest():
    """Return the first commit that can be upgraded; no release came before it."""
    return OLDEST.read_text("utf-8").strip()


def is_before_all_releases(commit):
    """Return whether a commit is older than the oldest from which upgrades are tested."""
    return _git("merge-base", "--is-ancestor", oldest(), commit).returncode != 0


def with_a_migration(folder):
    """Copy the shipped code that is here into a folder, with one additional migration."""
    unpack_here(folder)
    newest = max(path.name for path in (folder / JOBS).glob("*.sql"))
    made_up = folder / JOBS / f"{int(newest[:4]) + 1:04}_made_up.sql"
    made_up.write_text("ALTER TABLE workshed.schedule ADD COLUMN made_up integer;\n")


def unpack(commit, folder):
    """Unpack the shipped code of a commit into a folder.

    Code that came from an archive has no commits. If the environment says so, that code is used
    as the previous release, too.
    """
    folder.mkdir()
    if commit is None:
        assert os.environ.get(ARCHIVE), (
            "no earlier commit of this code is known, for example in a shallow clone or in one "
            "without tags: run `git fetch --unshallow --tags`, or tag the releases of the "
            f"changelog, or set {ARCHIVE}=1 if all of it is from an archive"
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
    """Return whether the code that is here has a migration that the code in a folder lacks."""
    return _migrations(ROOT) > _migrations(folder)


def is_same_code(one, other):
    """Return whether two folders have the same shipped code."""
    return _texts(one) == _texts(other)


def _migrations(folder):
    files = (path for name in MIGRATIONS for path in (folder / name).rglob("*.sql"))
    return {str(path.relative_to(folder)) for path in files}


def _texts(folder):
    files = (path for name in SHIPPED for path in (folder / name).rglob("*.*") if path.is_file())
    texts = (path for path in files if path.suffix in {".py", ".sql"})
    return {str(path.relative_to(folder)): path.read_bytes() for path in texts}


def unpack_here(folder):
    """Copy the shipped code that is here into a folder."""
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
    """Query the repository whose root is this folder, whichever user owns it."""
    ours = {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    try:
        return subprocess.run(command, env={**os.environ, **ours}, capture_output=True, check=False)
    except FileNotFoundError as err:
        return subprocess.CompletedProcess(command, 127, b"", str(err).encode())
