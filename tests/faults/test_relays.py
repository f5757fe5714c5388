"""Relays that are killed while a transaction stays open for long: no row is lost or left."""

import contextlib
import itertools
import os
import signal
import time

import pytest
from dramatiq import Message

from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment
from tests.programs import RELAY_READY
from workshed import db, schedule
from workshed.transport.relay.relay import WINDOW, WINDOWS_IN_FLIGHT

RELAYS = 3
EVERY_S = 0.7
LONGEST_S = 2.0
"""How long a kill waits for a relay with claimed rows, while RabbitMQ receives nothing."""
LATE_OF = 101
"""One row of this many is in the long transaction; not a multiple of 4, the kinds of jobs."""
TAKING = """
    SELECT DISTINCT r.pid FROM workshed.schedule AS s
      JOIN workshed.relays AS r ON r.id = s.claimed_by
"""
NO_RELAY = {"WORKSHED_RELAY_FORK": "false"}


class Relay:
    """A relay process with its own process group and its own proxy to RabbitMQ."""

    def __init__(self, warm, line, vhost, env, log):
        self.line = line
        self.log = log
        env = {**os.environ, **env, "WORKSHED_BROKER_URL": line.url(vhost)}
        self.process = warm.start("workshed.transport.relay.relay", env=env, log=log)

    def is_up(self):
        return RELAY_READY in self.log.read_text()

    def kill(self):
        """Kill it, and drop what it had sent and RabbitMQ has not read."""
        with contextlib.suppress(ProcessLookupError):  # it may have ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(60)
        self.line.cut()


@pytest.fixture
def kill_a_relay(warm, environment, numbers, proxy, vhost, tmp_path, connect, eventually):
    """`kill_a_relay()`: kill a relay that has claimed but not sent rows, and restart it.

    If none has claimed rows for a while, kill any relay.
    """
    started, turn = itertools.count(), itertools.cycle(range(RELAYS))
    conn = connect(autocommit=True)

    def start(line):
        log = tmp_path / f"relay-{next(started)}.log"
        return Relay(warm, line, vhost, {**environment, **numbers}, log)

    relays = [start(proxy(vhost)) for _ in range(RELAYS)]

    def at_work():
        pids = {pid for (pid,) in conn.execute(TAKING)}
        return next((n for n, one in enumerate(relays) if one.process.pid in pids), None)

    def kill():
        for relay in relays:
            relay.line.stall("up")
        until = time.monotonic() + LONGEST_S
        while (number := at_work()) is None and time.monotonic() < until:
            time.sleep(0.005)
        if number is None:
            number = next(turn)
        relays[number].kill()
        for relay in relays:
            relay.line.resume()
        relays[number] = start(relays[number].line)

    eventually(lambda: all(one.is_up() for one in relays), within_s=60)
    yield kill
    for relay in relays:
        relay.kill()


@pytest.mark.timeout(1800)
@experiment(
    "relays-killed",
    number=13,
    fails_by="lost",
    fault=f"`kill -9` of one of three relays every {EVERY_S:g} s, while a writer's transaction "
    "stays open",
    load="50 000 rows, one in 101 of them in the long transaction",
    remedy=Remedy(
        "workshed/transport/relay/relay.py",
        "if orphaned := claims.claim_orphaned(conn, self.id, WINDOW, spare_workers=spare):",
        "if orphaned := []:",
    ),
)
def test_relays_are_killed(ledger, kill_a_relay, start_worker, drained, judged, scale):
    """Rows claimed by a dead relay are claimed again, and rows that commit late are found."""
    wanted, rows = scale(50_000, by=50), scale(500, by=5)
    for _ in range(2):
        start_worker("load", threads=4, env=NO_RELAY)

    began = time.monotonic()
    with db.transaction() as long, Every(EVERY_S, kill_a_relay) as kills:
        for number in range(wanted):
            # At an even rate, so that rows are in flight all the time.
            time.sleep(max(0.0, began + number * EVERY_S / rows - time.monotonic()))
            if number % LATE_OF == LATE_OF - 1:
                send_late(ledger, long, number)
            else:
                ledger.commit(number)
    result = drained(within_s=900)
    result.notes = {"kills": kills.times, "repeats of plain ones": result.repeats}
    judged(result)
    assert kills.times > 0
    assert result.repeats <= kills.times * WINDOW * WINDOWS_IN_FLIGHT


def send_late(ledger, conn, number):
    """Send a job in a transaction that commits much later."""
    message: Message = ledger.message(number)
    schedule.send(conn, message)
    ledger.note(message)
