"""Workers and senders of two releases side by side: upgrade, downgrade, and upgrade again."""

import functools
import os
from pathlib import Path

import pytest

from tests.faults.conftest import Emptied
from tests.faults.experiment import Remedy, Result, experiment
from tests.library.e2e.releases import start_sender
from tests.programs import RELAY_READY
from tests.service.e2e.conftest import workshed

__all__ = ["start_sender", "workshed"]

FOLDER = Path(__file__).parent
TABLE = "CREATE TABLE public.effects (kind text, number integer, release text)"
SENT_BY_NEW = 1_000_000
"""The numbers of the jobs that the new release sends start here."""
GRACE_S = 4
STRANGE = "is known to this worker"
PHASES = 5


class Fleet:
    """Two workers, and senders, each of one of the two releases."""

    def __init__(self, start, start_sender):
        self._start = start
        self._start_sender = start_sender
        self._workers = []
        self._all = []
        self._senders = []

    def add(self, release):
        """Start a worker, with its relay."""
        worker = self._start(release)
        self._workers.append(worker)
        self._all.append(worker)

    def replace(self, release, *, kill=False):
        """Start a worker, then end the oldest one, gracefully unless `kill`."""
        self.add(release)
        oldest = self._workers.pop(0)
        if kill:
            oldest.kill()
        else:
            assert oldest.stop(120) == 0, oldest.text()

    def add_sender(self, release, first):
        """Start a process of a release that keeps sending."""
        self._senders.append(self._start_sender(release, first))

    def stop_senders(self):
        """Stop all senders."""
        for sender in self._senders:
            sender.stop()

    def sent(self):
        """Return the kind and number of each job that was sent."""
        return set().union(*(sender.sent() for sender in self._senders))

    def strangers(self):
        """Return how often a worker has received an unknown actor or option."""
        return sum(worker.text().count(STRANGE) for worker in self._all)


@pytest.fixture
def fleet(start_worker, start_sender, environment, tmp_path, eventually):
    def path(release):
        folder = tmp_path / release
        folder.mkdir(exist_ok=True)
        (folder / "released.py").write_text((FOLDER / f"release_{release}.py").read_text())
        return os.pathsep.join([str(folder), environment["PYTHONPATH"]])

    def start(release):
        env = {"PYTHONPATH": path(release), "WORKSHED_UNKNOWN_ACTOR_GRACE": str(GRACE_S)}
        worker = start_worker("released", threads=4, env=env)
        eventually(lambda: RELAY_READY in worker.text(), within_s=60)
        return worker

    return Fleet(start, lambda release, first: start_sender(path(release), first))


class Found:
    """The state of the jobs in PostgreSQL and on RabbitMQ."""

    def __init__(self, conn, rabbitmq):
        self._conn = conn
        self._rabbitmq = rabbitmq

    def count(self, what):
        return self._conn.execute(f"SELECT count(*) FROM {what}").fetchone()[0]  # noqa: S608 -- ours

    def effects(self):
        """Return how often each job had its effect."""
        query = "SELECT kind, number, count(*) FROM effects GROUP BY 1, 2"
        return {(kind, number): times for kind, number, times in self._conn.execute(query)}

    def left(self):
        """Count the jobs that are still under way."""
        tables = ("schedule", "redelivered_starts", "unique_locks")
        rows = sum(self.count(f"workshed.{table}") for table in tables)
        return rows + sum(queue.get("messages", 0) for queue in self._rabbitmq.queues().values())

    def moved(self):
        """Return values that change as long as there is progress."""
        return sum(self.effects().values()), self.left()

    def has_buried_strangers(self):
        """Return whether jobs with an unknown actor and an unknown option are dead or rejected."""
        query = "workshed.dead WHERE reason LIKE 'no {} % is known%'"
        dead = all(self.count(query.format(what)) for what in ("actor", "option"))
        rejected = self._rabbitmq.queues().get("parts.dead", {}).get("messages_ready", 0)
        return dead or rejected


@pytest.fixture
def found(connect, rabbitmq):
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return Found(conn, rabbitmq)


@pytest.mark.timeout(1800)
@experiment(
    "version-skew",
    number=24,
    fails_by="lost",
    fault="workers are replaced by those of a new release, by the old one again, and by the new "
    "one, one of two each time with `kill -9`; `dead retry` at the end",
    load="jobs that senders of both releases send continuously, 10 000 at least, directly and in "
    "transactions; their actors were renamed, moved to another queue, given an argument or an "
    "option, or added",
    remedy=Remedy(
        "workshed/transport/consuming/execution.py",
        '            outcome = Outcome("unknown_actor", reason, delay=wait)\n',
        "            raise LookupError(reason)\n",
    ),
)
def test_workers_are_rolled_forwards_backwards_and_forwards_again(
    fleet, found, workshed, quiet, judged, scale, eventually
):
    """Jobs that the old release cannot run wait, or die there and run once they are retried."""
    wanted = scale(10_000, by=20)

    def until(phase, *others):
        def is_over():
            enough = len(fleet.sent()) >= wanted * phase / PHASES
            return enough and all(other() for other in others)

        eventually(is_over, within_s=600)

    for _ in range(2):
        fleet.add("old")
    fleet.add_sender("old", first=0)
    until(1)
    fleet.replace("new")
    fleet.add_sender("new", first=SENT_BY_NEW)
    until(2, fleet.strangers)
    fleet.replace("new", kill=True)
    until(3)
    fleet.replace("old")
    fleet.replace("old", kill=True)
    greeting_has_died = functools.partial(
        found.count, "workshed.dead WHERE error_class = 'TypeError'"
    )
    until(4, found.has_buried_strangers, greeting_has_died)
    fleet.replace("new")
    fleet.replace("new", kill=True)
    until(5)
    fleet.stop_senders()
    judged.all_sent()
    sent = fleet.sent()
    quiet(Emptied(found.left), found.moved, within_s=240)
    died = found.count("workshed.dead")
    workshed("dead", "retry", "--all", "--yes")
    is_empty = Emptied(found.left)
    quiet(lambda: is_empty() and found.effects().keys() >= sent, found.moved, within_s=240)

    effects = found.effects()
    repeats = {job: times - 1 for job, times in effects.items() if times > 1}
    judged(
        Result(
            lost=len(sent - effects.keys()),
            ghost=len(effects.keys() - sent),
            duplicated=sum(n for (kind, _), n in repeats.items() if kind != "plain"),
            repeats=sum(n for (kind, _), n in repeats.items() if kind == "plain"),
            stuck=found.left(),
            notes={
                "sent": len(sent),
                "run by the old release": found.count("effects WHERE release = 'old'"),
                "received by workers without the actor": fleet.strangers(),
                "died and retried": died,
            },
        )
    )
    assert died
    assert found.count("workshed.dead") == 0
