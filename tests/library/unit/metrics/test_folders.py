"""The folder in which the processes of one master keep their metrics."""

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.processes import popen
from workshed.health import shared_folder
from workshed.health.shared_folder import ForeignFolderError
from workshed.settings import MULTIPROCESS_VARIABLE, SHARED_VARIABLE


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    """Make temporary folders inside that of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in (MULTIPROCESS_VARIABLE, SHARED_VARIABLE):
        monkeypatch.setenv(name, "")  # so that its value is restored afterwards
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def other():
    """A process that lives until the test ends it."""
    with popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def mine():
    folder = shared_folder.share_metrics_folder(os.getpid())
    assert shared_folder.join_folder(folder)
    return folder


def test_no_other_user_may_read_it():
    base = shared_folder.base_folder()
    base.chmod(0o755)

    folder = mine()

    assert stat.S_IMODE(shared_folder.base_folder().stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.environ[MULTIPROCESS_VARIABLE] == str(folder)


def test_a_folder_of_another_user_is_not_used(monkeypatch, caplog):
    """In `/tmp`, any user could create it first, read our metrics and make us show theirs."""
    found = shared_folder.base_folder()
    monkeypatch.setattr(Path, "lstat", lambda self: os.stat_result((0o40777, *[12345] * 9)))

    with pytest.raises(ForeignFolderError, match="not a folder of this user"):
        shared_folder.base_folder()
    assert shared_folder.share_metrics_folder(os.getpid()) is None
    assert f"no metrics are collected: {found}" in caplog.text


def test_a_link_is_not_followed(scratch):
    base = shared_folder.base_folder()
    base.rmdir()
    (scratch / "elsewhere").mkdir()
    base.symlink_to(scratch / "elsewhere")

    with pytest.raises(ForeignFolderError):
        shared_folder.base_folder()


def test_a_later_process_of_the_same_pid_does_not_inherit(other):
    """A master that reuses the pid of a dead one would continue from its numbers."""
    folder = shared_folder.share_metrics_folder(other.pid)

    assert shared_folder.is_alive(folder.name)
    pid, _, boot = folder.name.split("-")
    assert not shared_folder.is_alive(f"{pid}-1-{boot}")
    assert not shared_folder.is_alive(pid)


def test_the_folders_of_dead_masters_are_swept_and_those_of_living_ones_kept(other):
    living, dead = mine(), shared_folder.share_metrics_folder(other.pid)
    (dead / "counter_1.db").touch()
    other.kill()
    other.wait()

    shared_folder.remove_stale()

    assert list(shared_folder.base_folder().iterdir()) == [living]


def test_counters_of_a_dead_process_stay_and_its_live_gauges_go(other):
    folder = mine()
    (folder / shared_folder.process_name(other.pid)).touch()
    for pid in (os.getpid(), other.pid):
        for kind in ("counter", "gauge_livesum"):
            (folder / f"{kind}_{pid}.db").touch()

    shared_folder.remove_dead_process_files(folder)
    assert (folder / f"gauge_livesum_{other.pid}.db").exists()
    other.kill()
    other.wait()
    shared_folder.remove_dead_process_files(folder)

    assert (folder / f"counter_{other.pid}.db").exists()
    assert not (folder / f"gauge_livesum_{other.pid}.db").exists()
    assert (folder / f"gauge_livesum_{os.getpid()}.db").exists()


def test_files_of_the_application_have_their_blocks_allocated_on_disk():
    """A write to a file without blocks, once the disk is full, would kill the worker."""
    folder = mine()
    file = folder / f"counter_{os.getpid()}.db"
    with file.open("wb") as out:
        out.truncate(65_536)

    shared_folder.reserve_application_files(folder)

    assert file.stat().st_blocks * 512 >= file.stat().st_size == 65_536


def test_a_full_disk_is_logged(monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    folder = mine()
    (folder / f"counter_{os.getpid()}.db").touch()

    shared_folder.reserve_application_files(folder)

    assert "no space for the metrics of the application: [Errno 28]" in caplog.text


def test_the_file_of_a_process_names_it_and_is_no_status_file(other):
    folder = mine()

    file = shared_folder.values_file(folder)

    assert shared_folder.values_owner(file) == shared_folder.process_name(os.getpid())
    assert "-" not in file.name
    assert shared_folder.values_owner(folder / "merged.values") is None
    assert shared_folder.values_owner(folder / "counter_1.db") is None


def test_nothing_is_created_in_a_folder_that_the_user_named(tmp_path):
    named = tmp_path / "named"
    named.mkdir()

    assert shared_folder.join_folder(named)

    assert list(named.iterdir()) == []
