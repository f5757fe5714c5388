"""Run jobs that are killed at their n-th line: `[N, "import_users", 7]` on each line of input.

Each runs in a fork, whose exit code is a line of output, because importing everything again takes
far longer than the jobs run.
"""

import json
import os
import signal
import sys
from pathlib import Path

import actors
from shop.imports import reader

ROOT = Path(actors.__file__).parents[1]
# Modules that change something; loops that only read a file are not listed.
PARTS = (
    "actors",
    "shop/campaigns/recipients.py",
    "shop/campaigns/campaigns.py",
    "shop/images",
    "shop/imports/failure_mail.py",
    "shop/imports/reader.py",
    "shop/imports/rows.py",
    "shop/imports/imports.py",
    "shop/reports/requested_day.py",
    "shop/reports/attachments.py",
    "shop/reports/mail.py",
    "shop/reports/snapshots.py",
    "shop/sync/listing.py",
    "shop/sync/records.py",
    "shop/sync/runs.py",
    "shop/sync/sources.py",
    "workshed/contrib/mail/stored_mails.py",
    "workshed/contrib/mail/files.py",
    "workshed/contrib/notifications",
    "workshed/contrib/storage",
)
for name in PARTS:  # otherwise a moved file would go untested unnoticed
    assert (ROOT / name).exists(), name
OURS = tuple(str(ROOT / name) for name in PARTS)


def run(line, actor, *args):
    """Run a job, and kill the process at the given line of ours; only this thread's lines count."""
    left = line

    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        left -= event == "line"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    reader.BATCH = 5
    function = getattr(actors, actor).fn
    sys.settrace(trace)
    function(*args)


def main():
    """Run each job in a fork, in turn; a fork ends like any process."""
    for words in sys.stdin:
        pid = os.fork()
        if not pid:
            run(*json.loads(words))
            return
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 -- read by the test


if __name__ == "__main__":
    main()
