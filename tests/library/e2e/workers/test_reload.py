"""`workshed worker --reload`: a developer saves a file, and the next job runs the new code."""

import os

import pytest

from tests.library.e2e.workers.supervised import ACTORS, wait_until_up

pytestmark = pytest.mark.one_in(2)


@pytest.fixture
def code(tmp_path):
    """`code(2)`: save the module of the actors in another version."""
    return lambda number: (tmp_path / "parts.py").write_text(
        ACTORS.replace("VERSION = 1", f"VERSION = {number}")
    )


@pytest.fixture
def version_of(send, notes, eventually):
    """`version_of(7)`: the version of the code that a job runs which is sent now."""

    def run(number):
        send("make", number)
        found = eventually(lambda: [one for one in notes("end") if one[0] == number])
        return found[0][1]

    return run


def test_saved_code_replaces_the_workers_and_broken_code_does_not(
    supervise, code, version_of, tmp_path, eventually
):
    workers = supervise("--reload", processes=1)
    assert version_of(1) == 1

    code(2)
    wait_until_up(workers, eventually, times=2)
    assert version_of(2) == 2

    (tmp_path / "parts.py").write_text("this is no Python")
    (tmp_path / "helpers.py").touch()
    eventually(lambda: any("keeps running, and no other" in line for line in workers.said()))
    assert version_of(3) == 2

    code(4)
    wait_until_up(workers, eventually, times=3)
    assert version_of(4) == 4
    assert "parts.py changed: replacing one child after the other" in workers.said()
    assert "helpers.py, parts.py changed: replacing one child after the other" in workers.said()
    assert workers.stop() == 0


def test_an_edit_within_a_second_is_not_hidden_by_compiled_code(
    supervise, code, version_of, tmp_path, eventually
):
    """Python takes a `.pyc` file for current if the second and the size of its source are."""
    workers = supervise("--reload", processes=1, env={"PYTHONDONTWRITEBYTECODE": ""})
    before = (tmp_path / "parts.py").stat()

    code(2)
    os.utime(tmp_path / "parts.py", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    wait_until_up(workers, eventually, times=2)

    assert version_of(1) == 2


def test_code_that_is_broken_at_the_first_start_is_started_once_it_is_mended(
    supervise, code, version_of, tmp_path, eventually
):
    (tmp_path / "parts.py").write_text("1 / 0")
    workers = supervise("--reload", processes=1, up=False)
    eventually(lambda: any(line.endswith("again when the code changes") for line in workers.said()))

    code(2)
    wait_until_up(workers, eventually)

    assert version_of(1) == 2


def test_without_it_a_change_replaces_nothing(supervise, code, version_of):
    supervise(processes=1)

    code(2)

    assert [version_of(number) for number in range(20)] == [1] * 20
