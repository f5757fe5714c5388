"""Notify the supervisor that this process is up."""

import contextlib
import os
import stat

from workshed.settings import settings


def notify_ready() -> None:
    """Notify `workshed worker`, if it started this process, that it is up."""
    ready_fd = settings().ready_fd
    if ready_fd is None:
        return
    with contextlib.suppress(OSError):  # the supervisor has died, and SIGTERM will follow
        # A program that a job starts inherits the number, which there may be any file's.
        if stat.S_ISFIFO(os.fstat(ready_fd).st_mode):
            os.write(ready_fd, b"%d\n" % os.getpid())
