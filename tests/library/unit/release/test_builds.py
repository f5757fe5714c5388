"""Two builds of a commit are compared, and a commit is all that a build sees."""

import subprocess

import pytest

from tools.release import builds
from tools.release.builds import build_packages, find_commit_time, unpack_commit
from tools.release.errors import ReleaseError
from tools.release.programs import run_program


@pytest.fixture
def build(tmp_path, monkeypatch):
    """`build(first, second)`: builds that write these texts into the wheel."""

    def build(*texts):
        left = list(texts)

        def build_once(root, folder, env, umask):
            folder.mkdir(parents=True)
            (folder / "one.whl").write_text(left.pop(0))
            (folder / "one.tar.gz").write_text("the same")
            return folder

        monkeypatch.setattr(builds, "build_once", build_once)
        return build_packages(tmp_path, tmp_path)

    return build


def test_builds_with_the_same_bytes_pass(build):
    assert [path.name for path in build("one", "one")] == ["one.whl", "one.tar.gz"]


def test_builds_that_differ_are_refused_by_name(build):
    with pytest.raises(ReleaseError, match=r"commit differ: one\.whl\. Compare "):
        build("one", "two")


def test_a_build_sees_the_commit_and_nothing_else(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "kept.txt").write_text("committed")
    said = ("-c", "user.name=a", "-c", "user.email=b", "-C", str(root))
    date = {"GIT_COMMITTER_DATE": "@1700000000 +0000"}
    for words in (("init", "-q"), ("add", "--all"), ("commit", "-qm", "All")):
        subprocess.run(["git", *said, *words], check=True, env=date)
    (root / "kept.txt").write_text("changed")
    (root / "new.txt").touch()

    unpack_commit(root, tmp_path / "source")

    assert {path.name: path.read_text() for path in (tmp_path / "source").iterdir()} == {
        "kept.txt": "committed"
    }
    assert find_commit_time(root) == "1700000000"


def test_a_program_that_fails_ends_the_release_with_its_words(tmp_path):
    with pytest.raises(ReleaseError, match=r"(?s)`sh -c .*` failed \(3\):\none\ntwo\n"):
        run_program("sh", "-c", "echo one; echo two >&2; exit 3", folder=tmp_path)
