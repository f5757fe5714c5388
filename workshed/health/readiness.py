"""Tell the process that started this one that it is up."""

import contextlib
import os

from workshed.parent import inherits_files
from workshed.settings import settings


def say_up(pid: int) -> None:
    """Tell `workshed worker`, where it has started us, that its child of this pid is up."""
    ready_fd = settings().ready_fd
    if ready_fd is None:
        return
    line = b"%d\n" % pid
    with contextlib.suppress(OSError):  # it has died; SIGTERM is on its way to us
        if inherits_files():
            os.write(ready_fd, line)
            return
        # The child has the pipe. Here that number may be of any other file, of a socket even.
        pipe = os.open(f"/proc/{pid}/fd/{ready_fd}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, line)
        finally:
            os.close(pipe)
