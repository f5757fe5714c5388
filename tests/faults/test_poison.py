"""Jobs that kill, freeze or starve their worker, among others that do not."""

import functools
from collections import Counter
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.conftest import Emptied
from tests.faults.every import Every
from tests.faults.experiment import Remedy, experiment

ACTORS = (Path(__file__).parent / "poisonous.py").read_text()
DEAD = "SELECT count(*) FROM workshed.dead WHERE (actor = 'poison') = {}"
STEPS = "SELECT COALESCE(sum(isolated), 0) FROM workshed.redelivered_starts"
MOST_STARTS = 4
"""The first is not recorded, the second makes the job a suspect, and two run isolated."""
STILL_S = 40
"""Longer than restarted workers take to boot on a busy machine."""


class Poison:
    """The poison jobs that were sent, and how often each was started."""

    def __init__(self, broker, rows, notes):
        self._broker = broker
        self._rows = rows
        self._notes = notes
        self.sent = 0

    def send(self):
        """Send one more, with the next kind of poison."""
        self._broker.enqueue(Message("parts", "poison", (self.sent,), {}, {}))
        self.sent += 1

    def dead(self):
        """Count the dead poison jobs."""
        return self._rows(DEAD.format("true"))[0][0]

    def neighbours(self):
        """Count the other dead jobs."""
        return self._rows(DEAD.format("false"))[0][0]

    def moved(self):
        """Return values that change as long as there is progress."""
        return self.dead(), self._rows(STEPS)

    def starts(self):
        """Return how often each job was started."""
        return Counter(self._notes.read_text().split())


@pytest.fixture
def poison(broker, ledger, connect, tmp_path):
    (tmp_path / "poisonous.py").write_text(ACTORS)
    (tmp_path / "starts.txt").touch()
    conn = connect(autocommit=True)
    return Poison(broker, lambda query: conn.execute(query).fetchall(), tmp_path / "starts.txt")


@pytest.fixture
def start_one(poison, start_worker, tmp_path):
    env = {"STARTS": str(tmp_path / "starts.txt")}
    return functools.partial(start_worker, "load", "poisonous", threads=4, env=env)


@pytest.fixture
def alive(two_workers, start_one):
    """`with alive:` restarts workers that have ended."""

    def revive():
        for number, worker in enumerate(two_workers):
            if worker.process.poll() is not None:
                two_workers[number] = start_one(ready=False)

    return Every(0.2, revive)


@pytest.mark.timeout(1200)
@experiment(
    "poison",
    number=6,
    fails_by="stuck",
    needs_rabbitmq=False,
    fault="50 jobs that end their worker with `os._exit` or SIGSEGV, block it, use up its "
    "memory, raise SystemExit or KeyboardInterrupt, or recurse without end",
    load="5 000 other jobs",
    remedy=Remedy(
        "workshed/middleware/delivery/deduplication.py",
        "    if past.started and not job.isolated:",
        "    if False:",
    ),
)
def test_poison_dies_and_its_neighbours_do_not(poison, alive, ledger, judged, quiet, scale):
    """Without the remedy, a poison job is never isolated when it kills, so it never dies."""
    wanted, doses = scale(5_000, by=25), scale(50, by=7)

    is_empty = Emptied(ledger.left)

    def is_over():
        return is_empty() and ledger.has_all_effects() and poison.dead() == poison.sent

    def moved():
        return sum(ledger.effects().values()), *poison.moved()

    with alive:
        for number in range(wanted):
            ledger.send(number)
            if number % (wanted // doses) == 0 and poison.sent < doses:
                poison.send()
        quiet(is_over, moved, within_s=scale(540, by=2), still_s=STILL_S)

    result, starts = ledger.result(), poison.starts()
    result.lost += poison.neighbours()
    result.stuck += poison.sent - poison.dead()
    result.notes = {
        "poison jobs": poison.sent,
        "starts of poison jobs": starts.total(),
        "most starts of one job": max(starts.values()),
    }
    judged(result)
    assert max(starts.values()) <= MOST_STARTS
