"""Processes that tests start and read from."""

import contextlib
import subprocess
from pathlib import Path


@contextlib.contextmanager
def popen(*args, **kwargs):
    """Like `with subprocess.Popen(…)`, but does not wait forever for a process of a failed test."""
    with subprocess.Popen(*args, **kwargs) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def children(pid):
    """Return the processes that a process has started and that have not ended, oldest first."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(one) for one in found if not has_ended(int(one))]
    return []


def descendants(pid):
    """Return all descendants of a process."""
    return [each for child in children(pid) for each in (child, *descendants(child))]


def has_ended(pid):
    """Return whether a process has ended, even if its exit code was not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def command_of(pid):
    """Return the process's command line, empty if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


def started_by(master):
    """Return the processes that a master has started with `multiprocessing`, oldest first.

    Under `forkserver` they are not its children, and one child only tracks semaphores.
    """
    found = []
    for pid in children(master):
        if "multiprocessing.forkserver" in command_of(pid):
            found += children(pid)
        elif "multiprocessing.resource_tracker" not in command_of(pid):
            found.append(pid)
    return found
