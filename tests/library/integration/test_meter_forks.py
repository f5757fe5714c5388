"""A process that forks while its threads count."""

import subprocess
import sys

import pytest

FORKS = """
import os, signal, sys, threading
from workshed.health import shared_folder
from workshed.metrics import samples
from workshed.settings import settings
if sys.argv[1] != "memory":
    import prometheus_client
from workshed.metrics import metric, meters

metric.set_enabled(on=True)
if sys.argv[1] == "memory":
    metric.keep_in_memory()
over = threading.Event()

def count():
    while not over.is_set():
        meters.SENDS.add("greet", "default", "published")

def forked():
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        meters.SENDS.add("greet", "default", "published")
        meters.RELAY_WINDOWS.add()
        os._exit(int(counted() != [1.0]))
    return pid

def counted():
    name = "workshed_relay_windows_total"
    if sys.argv[1] == "memory":
        metric.keep_in_memory()
        return [1.0] if metric.read_own() == [] else []
    if sys.argv[1] == "folder":
        file = shared_folder.values_file(settings().shared_folder)
        return [sample.value for sample in samples.read_file(file) if sample.name == name]
    return [prometheus_client.REGISTRY.get_sample_value(name)]

meters.RELAY_WINDOWS.add(amount=5)
threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads:
    thread.start()
codes = [os.waitstatus_to_exitcode(os.waitpid(forked(), 0)[1]) for _ in range(60)]
over.set()
print({code: codes.count(code) for code in codes})
"""

FOLDERS = {
    "registry": (),
    "named folder": ("PROMETHEUS_MULTIPROC_DIR",),
    "folder": ("PROMETHEUS_MULTIPROC_DIR", "WORKSHED_SHARED_FOLDER"),
    "memory": (),
}
"""Where a process keeps its numbers, with the variables that name a folder."""


@pytest.mark.parametrize("place", ["registry", "named folder", "folder", "memory"])
def test_a_child_counts_for_itself_and_waits_for_no_lock_of_its_parent(place, tmp_path):
    """Each metric holds the lock of the files for a moment.

    Without its guard, a child forked then would wait for ever in its first `send`. The same is true
    of a lock in memory that another thread holds.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS, place],
        env={name: str(tmp_path) for name in FOLDERS[place]},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "{0: 60}\n"), done.stderr


ORDER = """
import os, threading, time
import prometheus_client
from workshed.metrics import file_store, forks, metric, prometheus

outer, inner = metric._state.lock, [lock for lock in forks._locks if lock is not metric._state.lock]
has_outer = threading.Event()

def resolve():
    with outer:
        has_outer.set()
        until = time.monotonic() + 1
        while time.monotonic() < until and not any(lock.locked() for lock in inner):
            pass
        for lock in inner:
            with lock:
                pass

thread = threading.Thread(target=resolve, daemon=True)
thread.start()
has_outer.wait()
pid = os.fork()
if pid == 0:
    os._exit(0)
print(len(inner), os.waitpid(pid, 0)[1])
"""


def test_a_fork_takes_locks_in_the_order_of_threads(tmp_path):
    """In another order, it would hold a lock that a thread waits for, and wait for that thread."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ORDER],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "2 0\n"), done.stderr
