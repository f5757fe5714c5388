"""The web console as a process of its own."""

import contextlib
import os
import re
import secrets
import time

from tests.library.integration.desk.conftest import HASH

AT = re.compile(r"Console (http://127\.0\.0\.1:\d+)")
LIMITED = """
import resource, runpy, sys
files = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
runpy.run_module("workshed", run_name="__main__")
"""
"""Runs `workshed` as after `ulimit -n`."""


class Console:
    """`workshed console`, started by `start(*words)`, which makes it write to a log."""

    def __init__(self, log, start):
        self._log = log
        self._start = start
        self.start()

    def start(self, port=0):
        self._log.write_bytes(b"")
        self._process = self._start("--port", str(port))
        until = time.monotonic() + 90
        while not (found := AT.search(self._log.read_text())):
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.url = found[1]

    def text(self):
        return self._log.read_text()

    def stop(self):
        self._process.terminate()
        self._process.wait(60)


@contextlib.contextmanager
def running(warm, environment, folder, *words, files=None, **people):
    """Run a console until the end of the block; `people` are roles by name, with one password.

    `words` are added to its command line. `files`: how many it may open.
    """
    given = {
        "WORKSHED_CONSOLE_USERS": " ".join(f"{one}:{role}:{HASH}" for one, role in people.items()),
        "WORKSHED_SECRET_KEY": secrets.token_urlsafe(32),
        "WORKSHED_SMTP_URL": f"maildir:{folder}/caught",
    }
    log, env = folder / "console.log", {**os.environ, **environment, **given}
    program = ("workshed",) if files is None else ("-c", LIMITED, str(files))
    started = Console(
        log, lambda *port: warm.start(*program, "console", *port, *words, env=env, log=log)
    )
    yield started
    started.stop()
