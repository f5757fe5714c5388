"""Workarounds for a `dramatiq` master, which may wait forever, or lose the workers' last output.

The master learns that a worker is up from a `multiprocessing` event, which has a lock. A worker
that is killed while it sets the event keeps the lock, and the master waits for it forever. The
master reads the workers' output in a thread, and stops as soon as all of them have ended, whatever
is still in the pipe: on a busy machine, that was all of their output.
"""

import array
import multiprocessing
import select
import sys
import time
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from multiprocessing.util import Finalize

if sys.platform == "linux":  # elsewhere the write end of a pipe does not show what is unread
    import fcntl
    import termios

BOOT_TIMEOUT_S = 30.0
"""A master, too, waits this long before it continues without a worker."""
READ_TIMEOUT_S = 5.0
"""How long to wait for a master that does not read."""
POLL_S = 0.01


def find_dramatiq_child() -> BaseProcess | None:
    """Return this process if a `dramatiq` master started it, as a worker or as a fork."""
    process = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    return process if getattr(target, "__module__", None) == "dramatiq.cli" else None


def wait_until_registered() -> None:
    """Return once the master knows that this worker is up, so that no job kills it before that."""
    # The event is only available as an argument of the process.
    for given in getattr(find_dramatiq_child(), "_args", ()):
        if isinstance(given, Event):
            given.wait(BOOT_TIMEOUT_S)


def flush_stderr_before_exit() -> None:
    """Delay this process's end until its master has read its output, such as why it cannot start.

    Does nothing without a master.
    """
    if sys.platform == "linux" and find_dramatiq_child():
        Finalize(None, _wait_until_read, exitpriority=0)


def _wait_until_read() -> None:
    until = time.monotonic() + READ_TIMEOUT_S
    try:
        pipe = sys.stderr.fileno()
        while _unread_bytes(pipe) and _has_reader(pipe) and time.monotonic() < until:
            time.sleep(POLL_S)
    except (OSError, ValueError):  # not a pipe, or closed
        return


def _unread_bytes(pipe: int) -> int:
    """Return how many bytes are in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def _has_reader(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)  # reports only errors; a pipe has one: no process has its other end
    return not poll.poll(0)
