"""What `workshed worker` does with its children, shown with small programs."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from workshed.console.supervisor.child import ManagedProcess
from workshed.console.supervisor.code_watch import CodeWatch
from workshed.console.supervisor.supervisor import Supervisor

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own

SUPERVISE = """
import os, sys
from datetime import timedelta
from pathlib import Path
from functools import partial
from workshed.console.supervisor.child import ManagedProcess, spawn
from workshed.console.supervisor.code_watch import CodeWatch
from workshed.console.supervisor.supervisor import Supervisor
from workshed import logs

logs.configure_logging()
python, *paths = sys.argv[1:]
children = [
    ManagedProcess(f"worker {n}", partial(spawn, [python, path])) for n, path in enumerate(paths, 1)
]
code = CodeWatch(Path.cwd()) if "RELOAD" in os.environ else None
sys.exit(Supervisor(children, timedelta(seconds=5), code=code).run())
"""

CHILD = """
import os, signal, sys, time
from workshed.parent import die_with_parent
signal.signal(signal.SIGTERM, lambda *_: sys.exit({code}))
die_with_parent()
{before}
os.write(int(os.environ["WORKSHED_READY_FD"]), b"%d\\n" % os.getpid())
{after}
while True:
    signal.pause()
"""


def child(*, before="", after="", code=0):
    """Return a program that reports that it is up, waits, and exits on SIGTERM."""
    return CHILD.format(before=before, after=after, code=code)


class Run:
    """A supervisor of small programs, run in their folder."""

    def __init__(
        self, folder, programs, *, first="", python=sys.executable, stdin=None, script=SUPERVISE
    ):
        for number, text in enumerate(programs):
            (folder / f"{number}.py").write_text(text)
        self._log = folder / "log.txt"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", first + script, python, *sorted(folder.glob("*.py"))],
                stdin=stdin or subprocess.DEVNULL,
                stderr=log,
                cwd=folder,
            )

    def said(self):
        lines = self._log.read_text().splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def children(self):
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()

    def stop(self):
        self.process.terminate()
        return self.process.wait(60)


@pytest.fixture
def supervise(tmp_path):
    """Supervise small programs, given as source text."""
    runs = []

    def start(*programs, **options):
        runs.append(Run(tmp_path, programs, **options))
        return runs[-1]

    yield start
    for one in runs:
        with contextlib.suppress(ProcessLookupError):
            one.process.kill()  # its children end with it
        one.process.wait(60)


def test_a_child_that_fails_while_it_stops_shows_in_the_exit_code(supervise, eventually):
    supervisor = supervise(child(), child(code=5))
    eventually(lambda: supervisor.said() == ["2 workers are up"])

    assert supervisor.stop() == 1
    assert supervisor.said()[-1].endswith(" exited (5)")


def test_a_worker_that_was_up_is_restarted_whatever_its_exit_code(supervise, eventually):
    """A schema that is migrated later is no reason to stop the other workers."""
    supervisor = supervise(child(), child(after="sys.exit(2)"))

    eventually(lambda: any(line.endswith("restarting it in 1s") for line in supervisor.said()))

    assert "cannot start with these settings or arguments (2); restarting it" in "\n".join(
        supervisor.said()
    )
    assert supervisor.stop() == 0


def test_a_child_that_is_killed_at_the_first_boot_is_started_again(supervise, eventually):
    once = "if not os.path.exists('once'):\n"
    once += "    open('once', 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"

    supervisor = supervise(child(before=once))

    eventually(lambda: supervisor.said()[-1:] == ["1 worker is up"])
    assert supervisor.said()[0].endswith("was killed by SIGKILL; restarting it in 500ms")


def test_a_program_that_cannot_be_started_is_retried(supervise, eventually, tmp_path):
    """A release may be replacing the environment: an error here would stop the running workers."""
    python = tmp_path / "python"
    supervisor = supervise(child(), python=python)
    eventually(supervisor.said)

    python.symlink_to(sys.executable)

    eventually(lambda: supervisor.said()[-1:] == ["1 worker is up"])
    assert supervisor.said()[0].startswith("worker 1 cannot start, retrying in 0.5 s: ")


def test_process_1_reaps_the_orphans_of_a_killed_child(supervise, tmp_path, eventually):
    """In a container it inherits orphans, whose zombies would use up all process ids."""
    fork = "if not os.path.exists('orphan'):\n"
    fork += "    pid = os.fork() or signal.pause()\n"
    fork += "    open('orphan', 'w').write(str(pid))\n"
    as_process_1 = "import ctypes; ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER\n"
    supervisor = supervise(child(before=fork), first=as_process_1)
    eventually(lambda: supervisor.said() == ["1 worker is up"])
    orphan = (tmp_path / "orphan").read_text()

    os.kill(int(supervisor.children()[0]), signal.SIGKILL)
    eventually(lambda: orphan in supervisor.children())
    os.kill(int(orphan), signal.SIGKILL)

    eventually(lambda: orphan not in supervisor.children())
    eventually(lambda: supervisor.said()[-1:] == ["1 worker is up"])


SECOND = "if os.path.exists('first'):\n    {}\nopen('first', 'w').close()\n"
"""What a program does when it runs for the second time."""


def test_a_successor_that_hangs_while_it_starts_is_killed_and_the_old_one_goes_on(
    supervise, eventually
):
    """Otherwise it would block the rolling restart, and use the memory of one more, for ever."""
    soon = "from workshed.console.supervisor import rolling_restart\n"
    soon += "rolling_restart.BOOT_TIMEOUT_S = 1.0\n"
    supervisor = supervise(child(before=SECOND.format("signal.pause()")), first=soon)
    eventually(lambda: supervisor.said() == ["1 worker is up"])
    before = supervisor.children()

    supervisor.process.send_signal(signal.SIGHUP)

    eventually(lambda: "and no other process is replaced" in supervisor.said()[-1])
    assert " is not up after 1 s and is killed" in "\n".join(supervisor.said())
    assert supervisor.children() == before
    assert supervisor.stop() == 0


def test_a_successor_that_misses_a_server_is_started_again_while_the_old_one_goes_on(
    supervise, tmp_path, eventually
):
    """If an outage ended the restart, the others would continue with old code unnoticed."""
    away = "os.path.exists('back') or sys.exit(3)"
    supervisor = supervise(child(before=SECOND.format(away)))
    eventually(lambda: supervisor.said() == ["1 worker is up"])
    (old,) = supervisor.children()

    supervisor.process.send_signal(signal.SIGHUP)
    eventually(lambda: supervisor.said()[-1].endswith("restarting it in 1s"))
    assert old in supervisor.children()
    (tmp_path / "back").touch()

    eventually(lambda: supervisor.said()[-1] == "1 worker is up")
    assert old not in supervisor.children()


BROKEN = """
open('boots', 'a').write('x')
if len(open('boots').read()) == {number}:
    while not os.path.exists('go'): time.sleep(0.01)
    sys.exit(1)
"""
"""What a program does that is broken the n-th time it starts, and waits for `go` to show it."""


def test_a_change_while_a_broken_successor_boots_is_not_lost(supervise, tmp_path, eventually):
    """The workers would keep the old code, although the new one is mended."""
    supervisor = supervise(child(before=BROKEN.format(number=2)))
    eventually(lambda: supervisor.said() == ["1 worker is up"])
    (old,) = supervisor.children()

    supervisor.process.send_signal(signal.SIGHUP)
    eventually(lambda: (tmp_path / "boots").read_text() == "xx")
    supervisor.process.send_signal(signal.SIGHUP)
    eventually(lambda: sum("rolling restart" in line for line in supervisor.said()) == 2)
    (tmp_path / "go").touch()

    eventually(lambda: supervisor.said()[-1] == "1 worker is up")
    assert old not in supervisor.children()
    assert (tmp_path / "boots").read_text() == "xxx"


def test_a_change_while_the_first_worker_boots_is_not_lost(
    supervise, tmp_path, monkeypatch, eventually
):
    """It would wait for another change, although the code is mended."""
    monkeypatch.setenv("RELOAD", "yes")
    supervisor = supervise(child(before=BROKEN.format(number=1)))
    eventually((tmp_path / "boots").exists)

    (tmp_path / "jobs.py").touch()
    eventually(lambda: any("jobs.py changed" in line for line in supervisor.said()))
    (tmp_path / "go").touch()

    eventually(lambda: supervisor.said()[-1] == "1 worker is up")
    assert any("changed meanwhile: starting it again" in line for line in supervisor.said())
    assert supervisor.stop() == 0


def test_during_the_shutdown_the_code_is_not_looked_at(tmp_path):
    """The supervisor would ask for it again and again until the last job has ended."""
    code = CodeWatch(tmp_path)
    children = [ManagedProcess("worker 1", lambda _: pytest.fail("it starts"))]
    supervisor = Supervisor(children, timedelta(seconds=5), code=code)
    code.due = 0.0
    assert supervisor._idle_s() == 0.0

    supervisor._begin_shutdown()

    assert supervisor._idle_s() is None


def test_a_terminal_that_hangs_up_ends_the_supervisor(supervise, eventually):
    """A worker that outlives its terminal would continue unnoticed, with old code."""
    ours, theirs = pty.openpty()
    supervisor = supervise(child(), stdin=theirs)
    eventually(lambda: supervisor.said() == ["1 worker is up"])

    supervisor.process.send_signal(signal.SIGHUP)

    assert supervisor.process.wait(60) == 0
    os.close(ours)
    os.close(theirs)


def test_nohup_is_respected(supervise, eventually):
    nohup = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    supervisor = supervise(child(), first=nohup)
    eventually(lambda: supervisor.said() == ["1 worker is up"])

    supervisor.process.send_signal(signal.SIGHUP)
    os.kill(int(supervisor.children()[0]), signal.SIGKILL)

    eventually(lambda: supervisor.said()[1:] and supervisor.said()[-1] == "1 worker is up")
    assert "rolling restart: replacing one child after the other" not in supervisor.said()


PRELOAD = """
import os, socket, sys, time
from pathlib import Path
from workshed.health.readiness import notify_ready
from workshed.transport.preload import Preload

preload = Preload(socket.socket(fileno=int(sys.argv[-1])), os.getppid())
first = not Path("once").exists()
Path("once").touch()
if first:
{first}
os.write(int(os.environ["WORKSHED_READY_FD"]), b"%d\\n" % os.getpid())
if preload.serve():
    exec(Path("0.py").read_text())
"""
SUPERVISE_PRELOADED = """
import sys
from datetime import timedelta
from workshed import logs
from workshed.console.supervisor.child import ManagedProcess
from workshed.console.supervisor.preloaded import ForkSource, PreloadedProcess
from workshed.console.supervisor.supervisor import Supervisor
from workshed.parent import adopt_orphans

logs.configure_logging()
adopt_orphans()
source = ForkSource()
children = [
    PreloadedProcess([sys.executable, "preload"], source), ManagedProcess("worker 1", source.fork)
]
sys.exit(Supervisor(children, timedelta(seconds=5)).run())
"""
NO_FORK = """
    fork, calls = os.fork, []
    def refuse():
        calls.append(1)
        if len(calls) == 1:
            raise OSError(11, "Resource temporarily unavailable")
        return fork()
    os.fork = refuse
"""
NO_SECOND_FORK = """
    fork, number = os.fork, os.getpid()
    def refuse():
        if os.getpid() != number and not Path("twice").exists():
            Path("twice").touch()
            raise OSError(11, "Resource temporarily unavailable")
        return fork()
    os.fork = refuse
"""
DIES = """
    preload._fork = lambda: os._exit(9)
"""
LATE = """
    leave = os.setsid  # until then, it is killed together with the process that forked it
    os.setsid = lambda: (leave(), time.sleep(6))
"""


def forks(first):
    """Return a program that forks the first program, and whose first run does so badly."""
    return PRELOAD.replace("{first}", first)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (NO_FORK, "worker 1 cannot start, retrying in 0.5 s: cannot fork a worker: Resource temp"),
        (NO_SECOND_FORK, "worker 1 cannot start, retrying in 0.5 s: cannot fork a worker: Resour"),
        (DIES, "preload (pid {pid}) exited (9); restarting it in 500ms"),
        (LATE, "preload (pid {pid}) does not answer, so it is killed and started again"),
    ],
    ids=["no fork", "no second fork", "dies", "late"],
)
def test_a_worker_is_forked_in_the_end_and_only_once(first, said, supervise, tmp_path, eventually):
    (tmp_path / "preload").write_text(forks(first))

    supervisor = supervise(child(), script=SUPERVISE_PRELOADED)

    eventually(lambda: supervisor.said()[-1:] == ["1 worker is up"])
    found = re.sub(r"preload \(pid \d+\)", "preload (pid {pid})", "\n".join(supervisor.said()))
    assert said in found
    assert ("cannot start" in found) == ("cannot start" in said)
    # The one that answered too late ends by itself.
    eventually(lambda: len(supervisor.children()) == 2)
    assert supervisor.stop() == 0
