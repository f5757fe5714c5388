"""Script that runs `dramatiq`, and kills it with all its processes when its parent has ended."""

import os
import signal
import sys
import threading

from dramatiq import cli


def end_with_parent() -> None:
    """Wait until the other end of our standard input is closed, then kill the process group."""
    # Not `sys.stdin`, because a fork would inherit its lock and wait for it for ever.
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(cli.main())  # type: ignore[no-untyped-call]
