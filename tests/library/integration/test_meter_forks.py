"""A process that forks while its threads count."""

import subprocess
import sys

import pytest

FORKS = """
import os, signal, sys, threading
import prometheus_client
from workshed.metrics import metric, meters

metric.set_enabled(on=True)
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
        os._exit(int(told("workshed_relay_windows_total") != 1))
    return pid

def told(name):
    from prometheus_client import REGISTRY
    return REGISTRY.get_sample_value(name)

meters.RELAY_WINDOWS.add(amount=5)
threads = [threading.Thread(target=count) for _ in range(4)]
for thread in threads:
    thread.start()
codes = [os.waitstatus_to_exitcode(os.waitpid(forked(), 0)[1]) for _ in range(60)]
over.set()
print({code: codes.count(code) for code in codes})
"""


@pytest.mark.parametrize("shared", [False, True])
def test_a_child_counts_for_itself_and_waits_for_no_lock_of_its_parent(shared, tmp_path):
    """Each metric holds the lock of the folder's files for a moment.

    Without its guard, a child forked then would wait for ever in its first `send`. The same is true
    of a lock in memory that another thread holds.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS],
        env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if shared else {},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "{0: 60}\n"), done.stderr
