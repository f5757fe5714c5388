"""Run a job that is killed at its n-th line: `python killed_at.py N import_users 7`."""

import os
import signal
import sys
from pathlib import Path

import actors
import workshed
from workshed.imports import reading

HERE = Path(workshed.__file__).parent
# What changes something: not the loops that only look at a file.
PARTS = (
    "blobs.py",
    "images",
    "storage",
    "notifications",
    "imports/reading",
    "imports/rows",
    "imports/stored",
    "imports/ending",
)
OURS = (str(Path(actors.__file__).parent), *(str(HERE / name) for name in PARTS))


def main(line, actor, *args):
    """Count the lines of ours that this thread runs; no other is counted."""
    left = line

    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        left -= event == "line"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    reading.BATCH = 5
    function = getattr(actors, actor).fn
    sys.settrace(trace)
    function(*args)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
