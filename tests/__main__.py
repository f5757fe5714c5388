"""Run pytest so that nothing stays behind: `python -m tests [--rerun] [pytest's arguments]`.

Tests start servers, workers and browsers. When a run is interrupted or its processes are killed,
this process ends all of them and removes their folders. It adopts the orphans of the run
(`PR_SET_CHILD_SUBREAPER`) and outlives pytest.

With `--rerun`, a few tests that failed run once more, one after the other. A run fails if one of
them fails again; otherwise it names them, because each is a defect of the test or of the code.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None)
MEMORY = "/dev/shm"  # noqa: S108 -- a folder of this run is made in it
PLACE = "TESTS_PLACE"
"""The variable that names another place for the folders of runs."""
FOLDER = "workshed-tests-"

PATIENCE_S = 60
"""How long an interrupted pytest may take to stop its servers."""

RERUN = "--rerun"
MOST_RERUN = 5
"""The most failed tests that run again: more have a cause that is no coincidence."""
EXIT_TESTS_FAILED = 1


def main(arguments):
    """Run pytest with these arguments and return its exit code."""
    is_rerun_wanted = RERUN in arguments
    command = [sys.executable, "-m", "pytest", *(a for a in arguments if a != RERUN)]
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    place = Path(os.environ.get(PLACE, MEMORY))
    if not os.access(place, os.W_OK):
        place = Path(tempfile.gettempdir())
    remove_dead_runs(place)
    folder = make_folder(place)
    # The files that pytest keeps for inspection after a failure stay in their usual place.
    kept = {"PYTEST_DEBUG_TEMPROOT": tempfile.gettempdir(), **os.environ}
    environment = {**kept, "TMPDIR": str(folder)}
    try:
        if is_rerun_wanted:
            return run_and_rerun(command, environment, folder / "cache")
        return run(command, environment)
    finally:
        end_children()
        shutil.rmtree(folder, ignore_errors=True)


def run_and_rerun(command, environment, cache):
    """Run pytest; if a few tests fail, run them again in one process; return the exit code."""
    # A cache of this run's own: pytest's usual one lists failures of earlier runs too.
    command = [*command, "-o", f"cache_dir={cache}"]
    code = run(command, environment)
    failed = failed_tests(cache) if code == EXIT_TESTS_FAILED else []
    if not 0 < len(failed) <= MOST_RERUN:
        return code
    names = "\n".join(f"  {name}" for name in failed)
    print(f"\nFailed tests run again, one after the other:\n{names}\n", flush=True)
    # A sample of all tests may be another one now, so the tests come from the exhaustive lane.
    again = ["-n", "0", "--exhaustive", "--last-failed", "--last-failed-no-failures", "none"]
    code = run([*command, *again], environment)
    if code == 0:
        print(f"\nThese tests failed once and then passed; find out why:\n{names}", flush=True)
    return code


def failed_tests(cache):
    """Return the ids of the tests that failed in the run with this cache."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_text()))
    except FileNotFoundError:
        return []


def run(command, environment):
    """Run a command, pass on signals that should end it, and return its exit code.

    If this process is killed, the command is interrupted.
    """

    def follow():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)

    with subprocess.Popen(command, env=environment, preexec_fn=follow) as process:  # noqa: PLW1509 -- no threads here

        def end(number, _frame):
            process.send_signal(number)
            signal.alarm(PATIENCE_S)

        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, end)
        signal.signal(signal.SIGALRM, lambda *_: process.kill())
        process.returncode = reap_until(process.pid)
        return process.returncode


def reap_until(awaited):
    """Collect the exit codes of all orphans until the awaited process ends; return its code."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == awaited:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def children():
    """Return the processes that this one has adopted, and all their descendants."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = status.read_text().rpartition(")")[2].split()
            parents[int(status.parent.name)] = int(fields[1])
    found, more = set(), {os.getpid()}
    while more:
        more = {pid for pid, parent in parents.items() if parent in more} - found
        found |= more
    return found


def end_children():
    """Kill what is left of the run, repeatedly, because a dying process may start another one."""
    while left := children():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        time.sleep(0.01)


def make_folder(place):
    """Make the folder of this run and lock it until this process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=place))
        with contextlib.suppress(OSError):
            lock(folder)
            folder.chmod(0o755)  # other accounts run servers in it; it may already be gone
            return folder


def remove_dead_runs(place):
    """Remove the folders of runs whose process was killed.

    A pid would not identify them: containers may share `/dev/shm`, and each has its own pids.
    """
    for folder in place.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError):
            descriptor = lock(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def lock(folder):
    """Lock a folder; return the descriptor that holds the lock. Raises `OSError` if locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
