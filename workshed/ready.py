"""Tell whoever has started this process that it is up."""

import contextlib
import os

from workshed.settings import settings


def say_up(pid: int) -> None:
    """Tell `workshed worker`, where it has started us, that its child of this pid is up."""
    ready_fd = settings().ready_fd
    if ready_fd is not None:
        with contextlib.suppress(OSError):  # it has died; SIGTERM is on its way to us
            os.write(ready_fd, b"%d\n" % pid)
