"""`workshed worker --preload`: workers are forked from a process that has imported the actors."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.library.e2e.workers.supervised import ACTORS, Consumers, ask, wait_until_up
from tests.library.e2e.workers.test_replacing import restarted
from tests.processes import children, command_of, descendants, has_ended
from workshed.errors import EXIT_ACTORS_RAISED, EXIT_USAGE
from workshed.health import shared_folder

NOTE_IMPORT = '\nnote("import", 0)\n'
THREAD = """
import threading
threading.Thread(target=time.sleep, args=(600,), name="feed", daemon=True).start()
"""
MANY_OBJECTS = "\nKEPT = [[number] for number in range(1_000_000)]\n"
MANY_OBJECTS_BYTES = 90 << 20
BLOCK_BYTES = 512


class Actors:
    """The module of the actors, which notes each process that imports it."""

    def __init__(self, file, notes):
        self._file = file
        self._notes = notes

    def save(self, more="", version=1):
        code = ACTORS.replace("VERSION = 1", f"VERSION = {version}")
        self._file.write_text(code + NOTE_IMPORT + more)

    def importers(self):
        """Return the pids of the processes that have imported it, oldest first."""
        return [pid for _, _, pid in self._notes("import")]

    def forked(self, one):
        """Return the pids of the workers, oldest first."""
        return [pid for pid in one.workers() if pid not in self.importers()]


@pytest.fixture
def actors(tmp_path, notes):
    found = Actors(tmp_path / "parts.py", notes)
    found.save()
    return found


# Starting


def test_the_actors_are_imported_once_and_the_workers_are_the_supervisors_own(
    supervise, actors, send, ended, notes, eventually
):
    """Otherwise it could not wait for them, and would not know their exit codes."""
    workers = supervise("--preload", processes=3)
    for number in range(100):
        send("make", number, 0.0)
    eventually(lambda: ended() == set(range(100)))

    (preload,) = actors.importers()
    assert len(actors.forked(workers)) == 3
    assert preload in children(workers.process.pid)
    assert children(preload) == []
    assert {pid for _, _, pid in notes("end")} <= set(actors.forked(workers))
    assert workers.stop() == 0
    assert "was killed" not in workers.text()


def test_each_worker_counts_for_itself(supervise, actors, send, ended, notes, eventually):
    """In files of its own; without reserved space, a full disk would kill it with SIGBUS."""
    workers = supervise("--preload", processes=2, exporter=True)
    for number in range(200):
        send("make", number, 0.0)
    eventually(lambda: ended() == set(range(200)))
    assert len({pid for _, _, pid in notes("end")}) == 2

    def succeeded():
        counter = r'^workshed_jobs_total\{.*outcome="succeeded".*\} ([\d.]+)$'
        _, page = ask(workers, "/metrics") or (None, "")
        return sum(map(float, re.findall(counter, page, re.MULTILINE)))

    eventually(lambda: succeeded() == 200)
    folder = shared_folder.base_folder() / shared_folder.process_name(workers.process.pid)
    for pid in actors.forked(workers):
        (file,) = folder.glob(f"{pid}_*{shared_folder.VALUES_SUFFIX}")
        assert file.stat().st_blocks * BLOCK_BYTES >= file.stat().st_size > 0


def private_bytes(pid):
    """Return how much memory a process has written to, and so does not share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"Private_Dirty: +(\d+)", text)[1]) * 1024


def test_what_the_import_has_made_is_not_copied(supervise, actors, send, ended, eventually):
    """The garbage collector writes into each object that it looks at."""
    actors.save(MANY_OBJECTS)
    workers = supervise("--preload", processes=2)
    for number in range(100):
        send("make", number, 0.0)
    eventually(lambda: ended() == set(range(100)))

    (preload,) = actors.importers()
    text = Path(f"/proc/{preload}/smaps_rollup").read_text()
    assert int(re.search(r"Rss: +(\d+)", text)[1]) * 1024 > MANY_OBJECTS_BYTES
    assert all(private_bytes(pid) < MANY_OBJECTS_BYTES / 2 for pid in actors.forked(workers))


@pytest.mark.parametrize(
    ("code", "left"),
    [
        (THREAD, r"a thread \(feed\)"),
        ("import socket\nkept = socket.create_connection({server})", r"a socket \(to 127.0.0.1:"),
        ("import socket\nkept = socket.create_server(('127.0.0.1', 0))", r"a socket \(at 127.0.0"),
        ("import asyncio\nkept = asyncio.new_event_loop()", r"a socket \(to this process\), a soc"),
        ("from workshed import db\nkept = db.connect()", r"a socket \(to "),
        ("make.send(1)", r"a thread \(publisher\), a socket \(to 127"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(code, left, supervise, actors, eventually):
    with socket.create_server(("127.0.0.1", 0)) as server:
        actors.save(code.format(server=server.getsockname()))
        workers = supervise("--preload", up=False)
        assert workers.process.wait(60) == EXIT_USAGE

    assert re.search(f"importing them left {left}", workers.text())
    assert '"logger": "workshed.transport.worker_process"' in workers.text()
    assert len(actors.importers()) == 1


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [("import nothing_of_this_name", EXIT_USAGE), ("1 / 0", EXIT_ACTORS_RAISED)],
)
def test_actors_that_cannot_be_imported_end_the_command(code, exit_code, supervise, actors):
    actors.save(code)
    workers = supervise("--preload", up=False)

    assert workers.process.wait(60) == exit_code
    assert len(actors.importers()) == 1


GONE = """
import socket, threading

class Cycle:
    "An object that only the garbage collector can free."

cycle = Cycle()
cycle.itself, cycle.connection = cycle, socket.create_connection({server})
del cycle
for _ in range(20):
    ended = threading.Thread(target=int)
    ended.start()
    ended.join()
"""
ENDS_BEFORE_FORK = """
import ctypes

c = ctypes.CDLL(None)
number, pause = ctypes.c_ulong(), ctypes.cast(c.pause, ctypes.c_void_p)
assert c.pthread_create(ctypes.byref(number), None, pause, None) == 0
ended = []

def end():
    if not ended:
        c.pthread_cancel(number)
        ended.append(c.pthread_join(number, None))

os.register_at_fork(before=end)
"""


@pytest.mark.parametrize("code", [GONE, ENDS_BEFORE_FORK])
def test_what_is_gone_at_the_fork_is_not_refused(code, supervise, actors, send, ended, eventually):
    """The OpenBLAS of NumPy starts threads when it is imported, and ends them before a fork."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        actors.save(code.format(server=server.getsockname()))
        supervise("--preload", processes=1)
    send("make", 1)
    eventually(lambda: ended() == {1})


BOOT = """
import random
from dramatiq import Middleware
from workshed import broker

class Boot(Middleware):
    def after_process_boot(self, broker):
        note("boot", random.getrandbits(30))

broker.add_middleware(Boot())
"""


def test_each_worker_boots_for_itself(supervise, actors, notes, eventually):
    """And draws numbers of its own."""
    actors.save(BOOT)
    workers = supervise("--preload", processes=3)

    assert {pid for _, _, pid in notes("boot")} == set(actors.forked(workers))
    assert len({number for number, _, _ in notes("boot")}) == 3


LOGGING = """
logging.getLogger().addHandler(logging.FileHandler("own.log"))
logging.getLogger().setLevel("DEBUG")
"""


def test_the_logging_that_a_module_sets_up_is_kept(
    supervise, actors, send, ended, tmp_path, eventually
):
    actors.save(LOGGING)
    supervise("--preload", processes=1)

    send("talk", 1)
    eventually(lambda: ended() == {1})

    assert "x" * 3000 in (tmp_path / "own.log").read_text()


def test_a_signal_handler_that_a_module_installs_does_not_delay_the_end(supervise, actors):
    actors.save("signal.signal(signal.SIGTERM, lambda *_: None)")
    workers = supervise("--preload", processes=1)

    assert workers.stop() == 0
    assert "killed" not in workers.text()


# Replacing


def test_sighup_replaces_the_preloaded_process_first_and_loses_nothing(
    supervise, actors, send, ended, notes, vhost, eventually
):
    workers = supervise("--preload", processes=2)
    before = actors.forked(workers)
    for number in range(200):
        send("make", number)
    eventually(lambda: len(ended()) > 20)
    actors.save(version=2)

    with Consumers(vhost, "parts") as consumers:
        workers.process.send_signal(signal.SIGHUP)
        wait_until_up(workers, eventually, times=2)

    assert (consumers.fewest, consumers.most) == (2, 3)
    assert restarted(workers) == ["preload", "worker 1", "worker 2", "relay"]
    assert len(actors.importers()) == 2
    assert has_ended(actors.importers()[0])
    assert not set(before) & set(actors.forked(workers))
    eventually(lambda: ended() == set(range(200)))
    assert len(notes("end")) == 200
    send("make", 200)
    eventually(lambda: 200 in ended())
    assert notes("end")[-1][1] == 2


def test_new_code_that_cannot_be_imported_replaces_nothing(
    supervise, actors, send, ended, notes, eventually
):
    """And a worker that dies meanwhile is forked with the old code."""
    workers = supervise("--preload", processes=2)
    (preload,), before = actors.importers(), actors.forked(workers)
    actors.save("1 / 0", version=2)

    workers.process.send_signal(signal.SIGHUP)
    words = f"preload (pid {preload}) keeps running, and no other process is replaced"
    eventually(lambda: any(line.endswith(words) for line in workers.said()))
    assert actors.forked(workers) == before
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    send("make", 1)

    eventually(lambda: ended() == {1})
    assert notes("end")[0][1] == 1


FORBIDDEN = """
from datetime import timedelta
import workshed

@workshed.actor(queue="parts", time_limit=timedelta(days=2))
def endless() -> None: ...
"""


def test_a_worker_that_cannot_boot_with_the_loaded_code_gets_the_next_code(
    supervise, actors, send, ended, notes, eventually
):
    """Each of its restarts forks the same code, so it waits for SIGHUP."""
    workers = supervise("--preload", processes=1)
    actors.save(FORBIDDEN, version=2)
    workers.process.send_signal(signal.SIGHUP)
    eventually(lambda: any("no other process is replaced" in line for line in workers.said()))
    for pid in actors.forked(workers):
        os.kill(pid, signal.SIGKILL)
    wrong = "cannot start with these settings or arguments (2); restarting it"
    eventually(lambda: any(wrong in line for line in workers.said()))

    actors.save(version=3)
    workers.process.send_signal(signal.SIGHUP)
    send("make", 1)

    eventually(lambda: ended() == {1})
    assert notes("end")[0][1] == 3


def test_a_worker_that_has_run_its_jobs_is_forked_again(
    supervise, actors, send, ended, notes, eventually
):
    workers = supervise("--preload", "--max-jobs", "20", processes=1)
    for number in range(100):
        send("make", number, 0.0)

    eventually(lambda: ended() == set(range(100)))
    eventually(lambda: "worker 1" in restarted(workers))
    assert len(notes("end")) == 100
    assert len(actors.importers()) == 1


def test_quiet_holds_for_a_worker_that_is_forked_later(supervise, actors, send, ended, eventually):
    workers = supervise("--preload", processes=1)
    (before,) = actors.forked(workers)
    workers.process.send_signal(signal.SIGTSTP)
    eventually(lambda: any(line.startswith("quiet: ") for line in workers.said()))
    os.kill(before, signal.SIGKILL)
    wait_until_up(workers, eventually, times=2)

    send("make", 1)
    send("make", 2)
    assert ended() == set()
    workers.process.send_signal(signal.SIGCONT)
    eventually(lambda: ended() == {1, 2})


# Ends of processes


def test_a_worker_that_ends_is_forked_again_and_its_exit_code_is_logged(
    supervise, actors, send, ended, eventually
):
    workers = supervise("--preload", processes=1)
    (before,) = actors.forked(workers)

    send("leave", 5)
    eventually(lambda: ended() == {5})

    assert f"worker 1 (pid {before}) exited (5); restarting it in 500ms" in workers.said()
    assert actors.forked(workers) != [before]
    assert len(actors.importers()) == 1


def test_workers_go_on_without_the_preloaded_process_which_is_started_again(
    supervise, actors, send, ended, tmp_path, eventually
):
    """A worker that is due meanwhile waits for it, and is not reported as failed."""
    workers = supervise("--preload", processes=2)
    (preload,), before = actors.importers(), actors.forked(workers)
    actors.save("while not os.path.exists('go'): time.sleep(0.01)")
    os.kill(preload, signal.SIGKILL)
    eventually(lambda: len(actors.importers()) == 2)
    os.kill(before[0], signal.SIGKILL)
    send("make", 1)
    eventually(lambda: ended() == {1})
    eventually(lambda: any("worker 1" in line and "restarting" in line for line in workers.said()))

    (tmp_path / "go").touch()

    wait_until_up(workers, eventually, times=2)
    assert len(actors.forked(workers)) == 2
    assert actors.forked(workers)[0] == before[1]
    assert "cannot start" not in workers.text()


def test_a_preloaded_process_that_hangs_is_replaced_when_it_is_needed(
    supervise, actors, eventually
):
    workers = supervise("--preload", processes=1)
    (preload,), (before,) = actors.importers(), actors.forked(workers)
    os.kill(preload, signal.SIGSTOP)

    os.kill(before, signal.SIGKILL)

    wait_until_up(workers, eventually, times=2)
    words = f"preload (pid {preload}) does not answer, so it is killed and started again"
    assert words in workers.said()
    assert not any("cannot start" in line for line in workers.said())
    assert has_ended(preload)
    assert len(actors.importers()) == 2
    assert len(actors.forked(workers)) == 1


def test_all_end_with_the_supervisor(supervise, actors, eventually):
    workers = supervise("--preload", processes=2)
    below = descendants(workers.process.pid)
    assert {*actors.importers(), *actors.forked(workers)} <= set(below)

    workers.process.kill()
    workers.process.wait(60)

    eventually(lambda: all(map(has_ended, below)))


def test_a_worker_ends_all_processes_of_its_job_at_the_kill(supervise, actors, eventually):
    """It is killed with its process group, so it needs one of its own."""
    workers = supervise("--preload", processes=2)

    assert {os.getpgid(pid) for pid in actors.forked(workers)} == set(actors.forked(workers))
    assert {os.getsid(pid) for pid in actors.forked(workers)} == set(actors.forked(workers))
    assert all("worker_process" in command_of(pid) for pid in actors.forked(workers))


def test_it_is_refused_with_reload(supervise, actors):
    workers = supervise("--preload", "--reload", up=False)

    assert workers.process.wait(60) == EXIT_USAGE
    assert "use --reload without --preload" in workers.text()
