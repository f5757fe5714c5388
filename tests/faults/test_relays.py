"""Relays that are killed while a transaction stays open for long: no row is lost or left."""

import contextlib
import itertools
import os
import signal
import time

import pytest
from dramatiq import Message

from brokers import schedule
from brokers.relay import WINDOW, WINDOWS_IN_FLIGHT
from tests.e2e.conftest import RELAY_READY
from tests.faults.experiment import Remedy, experiment
from workshed import db

RELAYS = 3
EVERY_S = 0.7
AWAY_S = 0.05
"""How far RabbitMQ is: who publishes has something in flight for twice as long."""
LATE_OF = 101
"""Of so many rows one is stored in the long transaction; no multiple of the four kinds of jobs."""
NO_RELAY = {"WORKSHED_RELAY_FORK": "false"}


class Relay:
    """A relay process in a process group of its own."""

    def __init__(self, warm, env, log):
        self.log = log
        self.process = warm.start("brokers.relay", env={**os.environ, **env}, log=log)

    def is_up(self):
        return RELAY_READY in self.log.read_text()

    def kill(self):
        with contextlib.suppress(ProcessLookupError):  # it had ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def kill_a_relay(ledger, warm, environment, numbers, proxy, vhost, tmp_path, eventually):
    """`kill_a_relay()`: kill -9 of one of three relays, in turn; it is started again.

    Once another one is up, or where all boot for longer than they live nothing is ever sent.
    """
    between = proxy(vhost)
    between.delay(AWAY_S)
    env = {**environment, **numbers, "WORKSHED_BROKER_URL": between.url(vhost)}
    started, turn = itertools.count(), itertools.cycle(range(RELAYS))

    def start():
        return Relay(warm, env, tmp_path / f"relay-{next(started)}.log")

    relays = [start() for _ in range(RELAYS)]

    def kill():
        number = next(turn)
        others = [one for place, one in enumerate(relays) if place != number]
        eventually(lambda: any(one.is_up() for one in others), within_s=60)
        relays[number].kill()
        relays[number] = start()

    eventually(lambda: all(one.is_up() for one in relays), within_s=60)
    yield kill
    for relay in relays:
        relay.kill()


@pytest.mark.timeout(1800)
@experiment(
    "relays-killed",
    number=13,
    fails_by="lost",
    fault=f"kill -9 of one of three relays every {EVERY_S:g} s; a writer's transaction stays open",
    load="50 000 rows, one of 101 in the long transaction",
    remedy=Remedy(
        "brokers/relay.py",
        "if orphaned := windows.adopt(conn, self.id, WINDOW):",
        "if orphaned := []:",
    ),
)
def test_relays_are_killed(ledger, kill_a_relay, start_worker, quiet, judged, scale):
    """What a dead relay had taken is taken again; what commits late is seen, however late."""
    wanted, rounds = scale(50_000, by=50), scale(100)
    size = wanted // rounds
    for _ in range(2):
        start_worker("load", threads=4, env=NO_RELAY)

    with db.transaction() as long:
        for first in range(0, wanted, size):
            began = time.monotonic()
            for number in range(first, first + size):
                # Evenly, so that each relay that is killed has some in flight.
                due = began + EVERY_S * (number - first) / size
                time.sleep(max(0.0, due - time.monotonic()))
                if number % LATE_OF == LATE_OF - 1:
                    send_late(ledger, long, number)
                else:
                    ledger.commit(number)
            kill_a_relay()
    began = time.monotonic()
    quiet(lambda: ledger.done() and ledger.left() == 0, ledger.moved, within_s=900)

    result = ledger.result()
    result.drain_s = round(time.monotonic() - began, 1)
    result.notes = {"kills": rounds, "repeats of plain ones": result.repeats}
    judged(result)
    assert result.repeats <= rounds * WINDOW * WINDOWS_IN_FLIGHT


def send_late(ledger, conn, number):
    """Send one in a transaction that commits much later."""
    message: Message = ledger.message(number)
    schedule.send(conn, message)
    ledger.sent.add((message.actor_name, number))
