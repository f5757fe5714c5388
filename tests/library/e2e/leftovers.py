"""An application that moves to Workshed, and programs of the job system that it leaves."""

import contextlib
import os
import signal
import subprocess
import sys

from tests.processes import popen

ENDS_S = 90
RQ = ("rq==3.0.0", "redis==8.1.0", "croniter==6.0.0", "pytz==2025.2")
"""RQ and what it needs; the first two are also what a program needs that reads Sidekiq's jobs."""
GATEWAY = """
from pathlib import Path


def charge(order_id):
    if Path(__file__).with_name("away").exists():
        raise ConnectionError("the provider is away")
"""
KILLED = """
import os, runpy, signal, sys
from {module} import {owner}

calls, original = [], {owner}.{method}


def counted(*args, **kwargs):
    calls.append(args)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **kwargs)


{owner}.{method} = counted
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a script, and kills it before its third call of a method."""
DUE_LATER = "SELECT count(*) FROM workshed.schedule WHERE due_at > now() + interval '5 minutes'"
ONCE_EACH = "SELECT count(*) FROM orders WHERE charged + reminded = 1"


class Shop:
    """An application in the folder of a test, with its orders."""

    def __init__(self, folder, env, conn):
        """Take its folder, the environment of its programs, and a connection to its database."""
        self.folder, self.env, self._conn = folder, dict(env), conn

    def write(self, files):
        """Write the files of a page, and the module that calls the payment provider."""
        for name, text in {"gateway.py": GATEWAY, **files}.items():
            (self.folder / name).write_text(text)

    def set_gateway_away(self, is_away):
        """Let all calls of the payment provider fail, or none."""
        away = self.folder / "away"
        away.touch() if is_away else away.unlink()

    def add_orders(self, count):
        """Add orders; their ids begin with 1."""
        self._conn.execute("INSERT INTO orders SELECT FROM generate_series(1, %s)", (count,))

    def rows(self, query):
        """Return the rows of a query."""
        return self._conn.execute(query).fetchall()

    def count_served_once(self):
        """Return how many orders had exactly one job."""
        return self.rows(ONCE_EACH)[0][0]

    def count_due_later(self):
        """Return how many jobs keep a delay, or the wait for their next attempt."""
        return self.rows(DUE_LATER)[0][0]

    def execute(self, statements):
        """Execute statements as a client does, one after the other."""
        for statement in filter(str.strip, statements.split(";")):
            self._conn.execute(statement)

    def make_due(self):
        """Make all scheduled jobs due."""
        self._conn.execute("UPDATE workshed.schedule SET due_at = now()")

    def run(self, *words, code=0):
        """Run a program of the application to its end; return what it prints."""
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ENDS_S,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def python(self, *words, code=0):
        """Run Python to its end; return what it prints."""
        return self.run(sys.executable, *words, code=code)

    def place_before_and_after(self, worker, start_worker, eventually):
        """Place an order with the worker of the system that it leaves, and one with Workshed's."""
        with self.running(*worker):
            self.python("-c", "from shop_tasks import place_order; place_order()")
            eventually(lambda: self.rows("SELECT * FROM orders") == [(1, 1, 0)])

        start_worker("shop_jobs", threads=2)
        self.python("-c", "from shop_jobs import place_order; place_order()")
        eventually(lambda: (2, 1, 0) in self.rows("SELECT * FROM orders"))

    def python_killed_before(self, place, *words):
        """Run a script, which is killed before its third call of `module:Class.method`."""
        module, _, method = place.partition(":")
        owner, _, method = method.partition(".")
        code = KILLED.format(module=module, owner=owner, method=method)
        self.python("-c", code, *words, code=-signal.SIGKILL)

    @contextlib.contextmanager
    def running(self, *words):
        """Run a program until the block ends, and end it by SIGTERM; yields its log."""
        log = self.folder / f"{words[0].rpartition('/')[2]}.log"
        with (
            log.open("wb") as out,
            popen(
                words,
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            ) as process,
        ):
            try:
                yield log
                assert process.poll() is None, log.read_text()
            finally:
                process.terminate()
                process.wait(ENDS_S)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
