"""Notify the supervisor that this process is up."""

import contextlib
import os

from workshed.parent import has_parent_files
from workshed.settings import settings


def notify_ready(pid: int) -> None:
    """Notify `workshed worker`, if it started this process, that its child `pid` is up."""
    ready_fd = settings().ready_fd
    if ready_fd is None:
        return
    line = b"%d\n" % pid
    with contextlib.suppress(OSError):  # the supervisor has died, and SIGTERM will follow
        if has_parent_files():
            os.write(ready_fd, line)
            return
        # Only the child has the pipe: in this process, the number may belong to any other file.
        pipe = os.open(f"/proc/{pid}/fd/{ready_fd}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(pipe, line)
        finally:
            os.close(pipe)
