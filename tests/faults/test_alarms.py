"""RabbitMQ is short of memory, then of disk, while jobs are still being sent."""

import contextlib
import itertools
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from tests.conftest import ALARMS
from tests.faults.experiment import Remedy, experiment

PER_S = 200
"""Jobs sent per second; a quarter of it at a small scale, so that all run meanwhile."""
THREADS = 8
KINDS = 4
PATIENCE_S = 2.0
"""How long a send waits for its confirm; an alarm lasts several times as long."""


class Site:
    """Sends jobs at a constant rate, and records how long each send took."""

    def __init__(self, ledger, per_s):
        self.duration_s = {None: [], **{kind: [] for kind in ALARMS}}
        """By the active alarm; `None` without one."""
        self.alarm = None
        self._ledger = ledger
        self._every_s = THREADS / per_s
        self._numbers = itertools.count()
        self._over = threading.Event()

    @contextlib.contextmanager
    def sending(self):
        """Send from several threads for the duration of the block."""
        with ThreadPoolExecutor(THREADS) as pool:
            ended = [pool.submit(self._send) for _ in range(THREADS)]
            try:
                yield
            finally:
                self._over.set()
        for one in ended:
            one.result()

    def _send(self):
        due = time.monotonic()
        while not self._over.is_set():
            due = max(due + self._every_s, time.monotonic() - 1)  # do not catch up on missed sends
            self._over.wait(due - time.monotonic())
            alarm, began = self.alarm, time.monotonic()
            self._ledger.send(KINDS * next(self._numbers))  # always the kind that shows each copy
            self.duration_s[alarm].append(time.monotonic() - began)

    def in_flight(self):
        """Count the sends of which RabbitMQ may have a copy without the sender's knowledge.

        These are late sends without an alarm and, for each thread and alarm, the send in flight
        when the alarm started: it is in a socket and stored too, and both arrive.
        """
        late = sum(duration_s >= PATIENCE_S for duration_s in self.duration_s[None])
        return late + THREADS * len(ALARMS)


@pytest.fixture
def site(ledger, broker, scale):
    broker._sender.timeout = timedelta(seconds=PATIENCE_S)
    return Site(ledger, scale(PER_S, by=4))


@pytest.mark.timeout(1200)
@experiment(
    "alarms",
    number=5,
    fails_by="duplicated",
    fault="RabbitMQ is short of memory for 60 s, then of disk",
    load=f"{PER_S} jobs per second",
    remedy=Remedy(
        "workshed/transport/amqp/connection.py",
        "        self.blocked_reason = str(frame.method.reason)\n",
        "        pass\n",
    ),
)
def test_an_alarm_loses_and_copies_nothing(
    site, two_workers, ledger, judged, drained, alarm, scale
):
    """Without the remedy, senders write into a socket that is not read, and then store the job too.

    With the remedy this happens only to jobs in flight when the alarm starts: one per thread.
    """
    with site.sending():
        for kind in ALARMS:
            time.sleep(2)
            site.alarm = kind
            with alarm(kind):
                time.sleep(scale(60, by=12))
            site.alarm = None
        time.sleep(2)
    result = drained(within_s=240)
    # No job ran twice by its own failure: each repeat is a copy that was sent.
    result.duplicated = max(0, result.repeats - site.in_flight())
    result.notes = {"sent": len(ledger.sent), "copies": result.repeats}
    for kind, duration_s in site.duration_s.items():
        p99_s = statistics.quantiles([0, *duration_s], n=100)[-1] if duration_s else 0
        result.notes[f"p99 ms, {kind or 'no'} alarm"] = round(p99_s * 1000, 1)
    judged(result)
    assert all(site.duration_s.values())
