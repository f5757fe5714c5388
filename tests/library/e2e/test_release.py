"""`python -m tools.release` on a commit of what is here, and on commits that it refuses."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests import pages
from tests.root import ROOT
from workshed import __version__

pytestmark = pytest.mark.timeout(900)  # it installs two environments

LEFT_OUT = (".*_cache", ".git", ".hypothesis", ".venv", "__pycache__", "bench-results", "dist")
KINDS = ("-py3-none-any.whl", ".cdx.json", ".tar.gz")
SHOWN = pages.block("docs/releases.md", "release").splitlines()
SUM = re.compile(r"^[0-9a-f]{64}", re.MULTILINE)
FILES = [f"workshed-{__version__}{kind}" for kind in KINDS]


@pytest.fixture
def git(tmp_path):
    """`git(…)`: run it in a repository whose only commit is what is here."""
    root = tmp_path / "repository"
    shutil.copytree(ROOT, root, ignore=shutil.ignore_patterns(*LEFT_OUT, "node_modules", "var"))

    def git(*words):
        said = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(
            ["git", *said, *words], cwd=root, capture_output=True, text=True, check=True
        )
        return done.stdout

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message", "All of it")
    return git


@pytest.fixture
def release(git, tmp_path):
    """`release()`: run it; return the process that has ended, and the folder that it writes."""

    def release():
        env = {name: value for name, value in os.environ.items() if "WORKSHED" not in name}
        done = subprocess.run(
            [sys.executable, "-m", "tools.release", str(tmp_path / "dist")],
            cwd=tmp_path / "repository",
            # The repository comes first, before the one that is installed here.
            env={**env, "PYTHONPATH": str(tmp_path / "repository")},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, tmp_path / "dist"

    return release


@pytest.mark.exhaustive
def test_a_release_is_built_twice_checked_and_runs_a_job(release):
    done, folder = release()

    assert done.returncode == 0, done.stderr
    said = SUM.sub("", done.stderr + done.stdout).replace(__version__, "…")
    assert said.splitlines() == [SUM.sub("", line) for line in SHOWN[1:]]
    sums = dict(line.split("  ")[::-1] for line in done.stdout.splitlines())
    assert sorted(sums) == sorted(FILES)
    assert {path.name for path in folder.iterdir()} == {*FILES, "SHA256SUMS"}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    with zipfile.ZipFile(folder / FILES[0]) as wheel:
        licence = wheel.read(f"workshed-{__version__}.dist-info/licenses/LICENSE")
    assert licence == (ROOT / "LICENSE").read_bytes()
    bill = json.loads((folder / FILES[1]).read_text("utf-8"))
    assert bill["metadata"]["component"]["version"] == __version__
    named = {one["name"].lower() for one in bill["components"]}
    assert {"dramatiq", "pika", "psycopg", "django", "sqlalchemy", "typer"} <= named
    assert "pip" not in named


def test_a_changed_tree_a_missing_section_and_a_used_tag_are_refused(git, release, tmp_path):
    git("tag", f"v{__version__}")
    changelog = tmp_path / "repository" / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n", "utf-8")
    git("commit", "--quiet", "--all", "--message", "Forget it")
    (tmp_path / "repository" / "note.txt").touch()

    done, folder = release()

    assert done.returncode == 1
    changed, missing, used = done.stderr.splitlines()
    assert changed.startswith("The working tree has changes; commit them")
    assert changed.endswith(": note.txt")
    assert missing.startswith(f"CHANGELOG.md has no section for {__version__}: rename [Unreleased]")
    assert used.startswith(f"v{__version__} is commit ")
    assert not folder.exists()
