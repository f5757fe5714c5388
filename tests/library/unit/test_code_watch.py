"""Changes of code that `workshed worker --reload` sees."""

import os

import pytest

from workshed.console.supervisor.code_watch import CodeWatch


@pytest.fixture
def project(tmp_path):
    (tmp_path / "jobs" / "mail").mkdir(parents=True)
    (tmp_path / "jobs" / "mail" / "send.py").write_text("1")
    (tmp_path / "notes.txt").write_text("1")
    return tmp_path


@pytest.fixture
def watch(project):
    return CodeWatch(project)


def seen(watch):
    """The changes that two looks return: the first sees them, the second that they are complete."""
    assert watch.poll() == []
    return watch.poll()


def test_nothing_has_changed_at_first(watch):
    assert seen(watch) == []


def test_a_file_that_is_written_made_renamed_or_deleted_has_changed(project, watch):
    code = project / "jobs" / "mail" / "send.py"
    code.write_text("22")
    assert seen(watch) == ["jobs/mail/send.py"]
    (project / "new.py").touch()
    assert seen(watch) == ["new.py"]
    code.rename(project / "other.py")
    assert seen(watch) == ["jobs/mail/send.py", "other.py"]
    (project / "other.py").unlink()
    assert seen(watch) == ["other.py"]
    assert seen(watch) == []


def test_an_edit_that_keeps_size_and_second_is_seen(project, watch):
    """Python itself takes such a file for the old one."""
    code = project / "jobs" / "mail" / "send.py"
    before = code.stat()
    code.write_text("2")
    os.utime(code, ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    assert seen(watch) == ["jobs/mail/send.py"]


def test_a_change_is_returned_once_it_is_complete(project, watch):
    names = ["a.py", "b.py", "c.py"]
    for name in names:
        (project / name).touch()
        assert watch.poll() == []

    assert watch.poll() == names
    assert watch.poll() == []


@pytest.mark.parametrize("folder", [".git", "__pycache__", "node_modules", "env/lib"])
def test_other_files_and_foreign_code_are_not_looked_at(folder, project, watch):
    (project / "notes.txt").write_text("22")
    (project / "env").mkdir()
    (project / "env" / "pyvenv.cfg").touch()
    (project / folder).mkdir(parents=True, exist_ok=True)
    (project / folder / "code.py").touch()

    assert seen(watch) == []


def test_a_folder_that_cannot_be_read_or_a_broken_link_is_passed_over(project):
    (project / "gone.py").symlink_to(project / "nowhere")
    (project / "loop").symlink_to(project)

    watch = CodeWatch(project)

    assert seen(watch) == []
    assert CodeWatch(project / "nowhere").poll() == []
