"""What a worker of `dramatiq` says as it ends is read: why it cannot start, above all.

Its master reads what workers write in a thread, and stops as soon as all of them have ended,
whatever is still in the pipe. On a busy machine that was all they had said.
"""

import array
import multiprocessing
import select
import sys
import time
from multiprocessing.util import Finalize

if sys.platform == "linux":  # elsewhere the end that is written to does not tell what is unread
    import fcntl
    import termios

READ_S = 5.0
"""For how long a master that does not read is waited for."""
LOOK_S = 0.01


def stay_until_read() -> None:
    """Let this process, where it is a worker of `dramatiq`, end when its master has read it out."""
    if sys.platform == "linux" and multiprocessing.parent_process() is not None:
        Finalize(None, _wait, exitpriority=0)


def _wait() -> None:
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
