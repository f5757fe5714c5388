"""What a worker of `dramatiq` has to mind, since its master waits for too long, or not at all.

The master learns that a worker is up by an event of `multiprocessing`, which has a lock. Killed as
it says so, a worker keeps the lock, and the master waits for it for ever. It reads what workers
write in a thread, and stops as soon as all of them have ended, whatever is still in the pipe: on a
busy machine that was all they had said.
"""

import array
import multiprocessing
import select
import sys
import time
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from multiprocessing.util import Finalize

if sys.platform == "linux":  # elsewhere the end that is written to does not tell what is unread
    import fcntl
    import termios

BOOT_S = 30.0
"""For so long a master waits, too, before it goes on without a worker."""
READ_S = 5.0
"""For how long a master that does not read is waited for."""
LOOK_S = 0.01


def started_by_one() -> BaseProcess | None:
    """Return this process if it was started by a `dramatiq` master, as a worker or another."""
    process = multiprocessing.current_process()
    target = getattr(process, "_target", None)
    return process if getattr(target, "__module__", None) == "dramatiq.cli" else None


def wait_until_told() -> None:
    """Return once the master knows that this worker is up, so that no job kills it before that."""
    # The event is an argument of the process, and told to nobody else.
    for given in getattr(started_by_one(), "_args", ()):
        if isinstance(given, Event):
            given.wait(BOOT_S)


def stay_until_read() -> None:
    """Let this process end when its master has read what it said: why it cannot start, above all.

    At once where it has no master.
    """
    if sys.platform == "linux" and started_by_one():
        Finalize(None, _wait_until_read, exitpriority=0)


def _wait_until_read() -> None:
    until = time.monotonic() + READ_S
    try:
        pipe = sys.stderr.fileno()
        while _unread(pipe) and _has_reader(pipe) and time.monotonic() < until:
            time.sleep(LOOK_S)
    except (OSError, ValueError):  # it is no pipe, or closed
        return


def _unread(pipe: int) -> int:
    """Return how many bytes are in a pipe."""
    size = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, size)
    return size[0]


def _has_reader(pipe: int) -> bool:
    poll = select.poll()
    poll.register(pipe, 0)  # errors only, of which a pipe has one: nobody has its other end
    return not poll.poll(0)
