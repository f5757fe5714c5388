"""Run jobs that are killed at their n-th line: `[N, "import_users", 7]` on each line of its input.

Each runs in a fork, whose exit code is a line of output: to import all of this again for each of
them takes far longer than they run.
"""

import json
import os
import signal
import sys
from pathlib import Path

import actors
import workshed
from shop.imports import reading

HERE = Path(workshed.__file__).parent
# What changes something: not the loops that only look at a file.
PARTS = (
    "blobs.py",
    "campaigns/recipients",
    "campaigns/stored",
    "images",
    "storage",
    "notifications",
    "imports/reading",
    "imports/rows",
    "imports/stored",
    "imports/ending",
    "mail/emails",
    "mail/files",
    "reports/asked",
    "reports/files",
    "reports/mail",
    "reports/snapshots",
    "sync/listing",
    "sync/records",
    "sync/runs",
    "sync/sources",
)
OURS = (str(Path(actors.__file__).parent), *(str(HERE / name) for name in PARTS))


def run(line, actor, *args):
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


def main():
    """Run one after the other; a fork ends as any process does."""
    for words in sys.stdin:
        pid = os.fork()
        if not pid:
            run(*json.loads(words))
            return
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 -- the test reads it


if __name__ == "__main__":
    main()
