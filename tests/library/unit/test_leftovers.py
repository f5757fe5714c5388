"""However a test run ends, it leaves no process and no folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.__main__ import FOLDER, PLACE, remove_dead_runs
from tests.processes import has_ended, popen
from tests.root import ROOT

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own


# A test that waits, after starting a daemon in its own session that ignores SIGTERM.
EXAMPLE = """
import os, pathlib, subprocess, sys, tempfile, time

def test_starts_a_server():
    daemon = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    start = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=2).pid)"
    command = [sys.executable, "-c", start, sys.executable, "-c", daemon]
    started = int(subprocess.run(command, stdout=-1, start_new_session=True).stdout)
    pathlib.Path(tempfile.mkdtemp(), "data").write_text("x")
    said = pathlib.Path(os.environ["SAID"])
    part = said.with_suffix(".part")
    part.write_text(f"{os.getpid()} {started} {tempfile.gettempdir()}")
    part.rename(said)
    if os.environ.get("WAITS"):
        time.sleep(600)
"""


@pytest.fixture
def run(tmp_path):
    """`run(waits=True)`: a run of the example in a process of its own, which the test ends."""
    (tmp_path / "test_example.py").write_text(EXAMPLE)
    command = [sys.executable, "-m", "tests", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    # In a folder of this test: another run would remove the folder of one that was killed.
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SAID": str(tmp_path / "said"),
        PLACE: str(tmp_path),
    }

    def start(*, waits, **how):
        return popen(
            [*command, "-q", "-p", "tests.signals", str(tmp_path / "test_example.py")],
            cwd=ROOT,
            env={**environment, "WAITS": "yes" if waits else ""},
            **{"stdout": subprocess.DEVNULL, **how},
        )

    return start


@pytest.fixture
def said(tmp_path, eventually):
    """`said()`: the pids of pytest and of its daemon, and the folder of the run."""

    def read():
        file = tmp_path / "said"
        eventually(file.exists)
        pytest_pid, daemon, folder = file.read_text().split()
        return int(pytest_pid), int(daemon), Path(folder)

    return read


def test_a_run_that_ends_leaves_nothing(run, said):
    with run(waits=False) as process:
        assert process.wait(90) == 0

    _, daemon, folder = said()
    assert has_ended(daemon)
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_nothing(run, said, number):
    with run(waits=True) as process:
        pytest_pid, daemon, folder = said()
        process.send_signal(number)
        assert process.wait(90) != 0

    assert has_ended(daemon)
    assert has_ended(pytest_pid)
    assert not folder.exists()


def test_ctrl_c_reaches_all_of_a_run_and_is_one_interrupt(run, said, tmp_path):
    """A second interrupt during the first would show a traceback of pytest's own."""
    with (tmp_path / "output").open("w+") as output:
        with run(waits=True, stdout=output, stderr=output, start_new_session=True) as process:
            _, daemon, folder = said()
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(90) == pytest.ExitCode.INTERRUPTED
        output.seek(0)
        text = output.read()

    assert "! KeyboardInterrupt !" in text
    assert "Traceback" not in text
    assert has_ended(daemon)
    assert not folder.exists()


def test_orphans_are_reaped_while_the_run_goes_on(run, said, eventually):
    """Otherwise every worker whose master was killed would stay in the list of processes."""
    with run(waits=True) as process:
        _, daemon, _ = said()
        os.kill(daemon, signal.SIGKILL)
        eventually(lambda: not Path("/proc", str(daemon)).exists())
        process.terminate()
        process.wait(90)


def test_a_pytest_that_is_killed_leaves_nothing(run, said):
    with run(waits=True) as process:
        pytest_pid, daemon, folder = said()
        os.kill(pytest_pid, signal.SIGKILL)
        assert process.wait(90) != 0

    assert has_ended(daemon)
    assert not folder.exists()


def test_the_next_run_removes_the_folder_of_one_that_was_killed_itself(run, said, eventually):
    with run(waits=True) as process:
        pytest_pid, daemon, folder = said()
        process.kill()
        process.wait(90)
    eventually(lambda: has_ended(pytest_pid))
    os.kill(daemon, signal.SIGKILL)
    assert folder.exists()

    with run(waits=False) as process:
        assert process.wait(90) == 0

    assert not folder.exists()
    assert folder.name.startswith(FOLDER)


def test_the_folder_of_a_run_that_goes_on_stays(run, said):
    with run(waits=True) as process:
        _, _, folder = said()
        with run(waits=False) as other:
            assert other.wait(90) == 0
        assert folder.exists()
        process.terminate()
        process.wait(90)


def test_a_dead_folder_with_the_pid_of_a_live_process_is_removed(tmp_path):
    """Containers that share `/dev/shm` have the same pids."""
    folder = tmp_path / f"{FOLDER}{os.getpid()}"
    folder.mkdir()

    remove_dead_runs(tmp_path)

    assert not folder.exists()
