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
from shop.imports import reading

ROOT = Path(actors.__file__).parents[1]
# What changes something: not the loops that only look at a file.
PARTS = (
    "actors",
    "shop/campaigns/recipients.py",
    "shop/campaigns/stored.py",
    "shop/images",
    "shop/imports/ending.py",
    "shop/imports/reading.py",
    "shop/imports/rows.py",
    "shop/imports/stored.py",
    "shop/reports/asked.py",
    "shop/reports/files.py",
    "shop/reports/mail.py",
    "shop/reports/snapshots.py",
    "shop/sync/listing.py",
    "shop/sync/records.py",
    "shop/sync/runs.py",
    "shop/sync/sources.py",
    "workshed/contrib/mail/emails.py",
    "workshed/contrib/mail/files.py",
    "workshed/contrib/notifications",
    "workshed/contrib/storage",
)
for name in PARTS:  # or a file that has moved would be killed at no line, and nobody would notice
    assert (ROOT / name).exists(), name
OURS = tuple(str(ROOT / name) for name in PARTS)


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
