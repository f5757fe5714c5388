"""Senders, relays and workers that are killed at every line between a send and its ack."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.conftest import Emptied
from tests.faults.experiment import FOLDER, KEY, ROOT, experiment

PROGRAM = (Path(__file__).parent / "crashing.py").read_text()
TABLES = """
    CREATE TABLE public.tries (kind text, number integer);
    CREATE TABLE public.sends (kind text, number integer);
"""
NO_RELAY = {"WORKSHED_RELAY_FORK": "false"}
BACKLOG = 200
"""Jobs that wait while processes crash: enough for all processes, and soon done."""
HANGS_S = 60
"""After this long without a crash, no more are expected."""
LANES = {"sender": 1, "relay": 2, "worker": 2}
"""How many processes of a role run at a time."""


@dataclass(frozen=True, slots=True)
class Point:
    """A line of the product, before or after which a process ends."""

    role: str
    name: str
    file: str
    line: str
    before: bool = False
    """Whether it ends before the line, not after it."""
    outer: int = 0
    """How many blocks around the line have ended when the process ends."""

    @property
    def patch(self):
        """The file, the original text, and its replacement."""
        indent = " " * (len(self.line) - len(self.line.lstrip()) - 4 * self.outer)
        call = f'{indent}__import__("crashing").here("{self.name}")'
        both = [call, self.line] if self.before else [self.line, call]
        return [self.file, f"{self.line}\n", "\n".join(both) + "\n"]


CONSUMER, ONCE, RELAY = (
    "workshed/transport/consuming/consumer.py",
    "workshed/middleware/delivery/once.py",
    "workshed/transport/relay/relay.py",
)
POINTS = (
    Point(
        "sender",
        "stored",
        "workshed/transport/publishing/sender.py",
        "            await waiting.run_database_work("
        "functools.partial(self._lease, batch, need_row, span))",
    ),
    Point(
        "sender",
        "joined",
        "workshed/transport/base.py",
        '        self.emit_after("enqueue", message, whole_ms(delay))',
        before=True,
    ),
    Point("sender", "committed", "workshed/db.py", "                yield conn", outer=1),
    Point(
        "sender",
        "written",
        "workshed/transport/publishing/publisher.py",
        "                        self._send(publication)",
        outer=3,
    ),
    Point(
        "sender",
        "confirmed",
        "workshed/transport/publishing/publisher.py",
        "        method = frame.method",
        before=True,
    ),
    Point(
        "relay",
        "taken",
        RELAY,
        "            self._in_flight.append(self._publish(conn, rows))",
        before=True,
    ),
    Point(
        "relay", "published", RELAY, "            self._in_flight.append(self._publish(conn, rows))"
    ),
    Point("relay", "answered", RELAY, "        self._await_confirms(window.confirms)"),
    Point("relay", "marked", RELAY, "        claims.delete_sent(conn, window.owner, gone)"),
    Point("worker", "delivered", CONSUMER, "            self._received.append(delivery)"),
    Point(
        "worker",
        "started",
        "workshed/transport/consuming/execution.py",
        "        delivery.is_running = True",
    ),
    Point(
        "worker",
        "claimed",
        ONCE,
        "                        result = function(*args, **kwargs)",
        before=True,
    ),
    Point("worker", "done", ONCE, "                        result = function(*args, **kwargs)"),
    Point(
        "worker",
        "settled",
        ONCE,
        "                    broker.write_outcome(conn, job, SUCCEEDED)",
    ),
    Point("worker", "kept", ONCE, "            job.outcome = outcome", before=True),
    Point(
        "worker",
        "to be acked",
        "workshed/transport/consuming/execution.py",
        "        self._observe(delivery.job, outcome, error)\n        return True",
        before=True,
    ),
    Point("worker", "acked", CONSUMER, "                    channel.settle(batch)", outer=2),
)


@pytest.fixture
def lanes(ledger, environment, numbers, connect, tmp_path, seed):
    """`lanes(3)`: processes that crash at each point three times, and then keep running."""
    connect(autocommit=True).execute(TABLES)
    (tmp_path / "crashing.py").write_text(PROGRAM)
    patches = json.loads(os.environ.get("FAULTS_PATCHES", "[]")) + [one.patch for one in POINTS]
    paths = [str(FOLDER / "patched"), str(tmp_path), str(ROOT)]
    env = {
        **os.environ,
        **environment,
        **numbers,
        **NO_RELAY,
        "PYTHONPATH": os.pathsep.join(paths),
        "FAULTS_PATCHES": json.dumps(patches),
        "FAULTS_PATCHED": str(tmp_path / "patched"),
    }
    started = []

    def start(role, points):
        number = len(started)
        first = 1_000_000_000 + number * 100_000_000
        own_seed = str(random.getrandbits(30))
        words = [sys.executable, "crashing.py", role, own_seed, str(first)]
        # Named like a worker's log, because such logs are searched for threads that died.
        with (tmp_path / f"worker-of-lane-{number}.log").open("ab") as log:
            started.append(
                subprocess.Popen(
                    [*words, *points],
                    cwd=tmp_path,
                    env=env,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    def lanes(times):
        for role, many in LANES.items():
            points = [one.name for one in POINTS if one.role == role] * times
            random.shuffle(points)
            for place in range(many):
                start(role, points[place::many])
        return started

    yield lanes
    for one in started:
        end(one)


def end(process):
    """Kill a process and everything it forked."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)


@pytest.mark.timeout(3600)
@experiment(
    "every-line",
    number=12,
    fails_by="duplicated",
    fault=f"`kill -9` of a process at each of {len(POINTS)} lines between a send and its ack",
    load="200 times each, while jobs are sent directly and in transactions",
    remedy=KEY,
)
def test_every_line_may_be_the_last(
    ledger, lanes, start_worker, connect, quiet, judged, tmp_path, scale
):
    times = scale(200, by=66)
    conn = connect(autocommit=True)
    running = lanes(times)

    def crashed():
        notes = [file.read_text() for file in tmp_path.glob("crashes-*")]
        return Counter("".join(notes).splitlines())

    sent, since, seen = 0, time.monotonic(), 0
    while seen < times * len(POINTS) and time.monotonic() < since + HANGS_S:
        if crashed().total() > seen:
            since, seen = time.monotonic(), crashed().total()
        if ledger.left() < BACKLOG:
            for number in range(sent, sent + 20):
                (ledger.commit if number // 4 % 2 else ledger.send)(number)
            sent += 20
    for one in running:
        end(one)
    start_worker("load", threads=4)
    noted(ledger, conn)
    is_empty = Emptied(ledger.left)
    quiet(lambda: is_empty() and ledger.has_all_effects(), ledger.moved, within_s=900)

    in_doubt(ledger, conn)
    result = ledger.result()
    result.notes = dict(sorted(crashed().items()))
    judged(result)
    assert crashed() == {one.name: times for one in POINTS}


def noted(ledger, conn):
    """Add the jobs that the senders recorded as sent or committed."""
    ledger.sent |= {tuple(row) for row in conn.execute("SELECT kind, number FROM sends")}


def in_doubt(ledger, conn):
    """Add the jobs that a sender was sending when it ended, if they had an effect.

    Such a job may or may not have been sent. Uncommitted jobs were never sent.
    """
    tried = {tuple(row) for row in conn.execute("SELECT kind, number FROM tries")}
    ledger.sent |= tried & ledger.effects().keys()
