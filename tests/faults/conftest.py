"""A load of jobs whose effects are counted, on real worker processes."""

import contextlib
import functools
import itertools
import json
import random
import re
import secrets
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from dramatiq import Message

from tests.faults.experiment import Result
from tests.faults.sink import Sink
from tests.programs import READY, RELAY_READY
from tests.service.e2e.conftest import environment, start_worker
from tests.service.variables import SHOP
from tests.variables import taken_away
from workshed import Queue, db, schedule

__all__ = ["environment", "start_worker"]

taken_away(SHOP)

ACTORS = (Path(__file__).parent / "load.py").read_text()
KINDS = ("plain", "once", "retried", "mailed")
TABLES = """
    CREATE TABLE public.effects (kind text, number integer);
    CREATE TABLE public.charges (number integer PRIMARY KEY, asked integer, charged_at timestamptz);
"""
STILL_S = 30
"""Longer than any wait of the product before the next visible progress."""
COUNTS_S = 1.0
"""Longer than the age of RabbitMQ's counts."""
THREAD_DIED = r"thread \S+ has died"
DEAD = "SELECT actor, error_class, reason, count(*) FROM workshed.dead GROUP BY 1, 2, 3"
BEGUN = "SELECT * FROM workshed.redelivered_starts LIMIT 20"
WRITERS = (
    "write_by_psycopg",
    "write_by_session",
    "write_by_async_session",
    "write_by_django",
)
"""The actors of `writing.py`."""
UNDER_A_KEY = ("once", "retried", "mailed", "charged", "keyed", *WRITERS)


def pytest_itemcollected(item):
    """Mark the tests of a module here, of which `make test` runs a third; see `tests/lanes.py`."""
    item.add_marker(pytest.mark.one_in(3))


class Drain:
    """Measures the time from the last send until no job is left."""

    def __init__(self):
        self._began = None

    def begins(self):
        """Note that a job was sent; the last time counts."""
        self._began = time.monotonic()

    def seconds(self):
        """Return how long it took until now."""
        assert self._began is not None
        return round(time.monotonic() - self._began, 1)


@pytest.fixture
def database_url(fresh_database_url):
    """A fresh database, because an experiment changes tables and damages their contents."""
    return fresh_database_url


@pytest.fixture
def drain():
    return Drain()


class Ledger:
    """The jobs that were sent, and their effects."""

    def __init__(self, broker, rows, rabbitmq, drain):
        self.kinds = KINDS
        self.sink = None
        self._broker = broker
        self._rows = rows
        self._rabbitmq = rabbitmq
        self._drain = drain
        self.sent: set[tuple[str, int]] = set()

    def message(self, number):
        """Return the message of a job, of each kind in turn."""
        kind = self.kinds[number % len(self.kinds)]
        queue = "letters" if kind == "mailed" else "parts"
        return Message(queue, kind, (number,), {}, {})

    def send(self, number):
        """Send a job directly."""
        message = self.message(number)
        self._broker.enqueue(message)
        self.note(message)

    def commit(self, number, delay=None):
        """Send a job in a transaction that commits."""
        message = self.message(number)
        with db.transaction() as conn:
            schedule.send(conn, message, delay=delay)
        self.note(message)

    def note(self, message):
        """Note a job that was sent elsewhere."""
        self.sent.add((message.actor_name, *message.args))
        self._drain.begins()

    def effects(self):
        """Return how often each job had its effect."""
        query = "SELECT kind, number, count(*) FROM effects GROUP BY 1, 2"
        return {(kind, number): times for kind, number, times in self._rows(query)}

    def failed_attempts(self):
        """Count the attempts that raised an error."""
        query = "SELECT count(*) FROM workshed.attempts WHERE error_class IS NOT NULL"
        return self._rows(query)[0][0]

    def has_all_effects(self):
        """Return whether every sent job has had its effect."""
        return self.effects().keys() >= self.sent

    def count_remaining(self):
        """Return how many jobs are still under way, by table and queue."""
        tables = ("schedule", "redelivered_starts", "unique_locks")
        query = "SELECT count(*) FROM workshed.{}"
        rows = {name: self._rows(query.format(name))[0][0] for name in tables}
        queues = self._rabbitmq.queues()
        return rows | {name: queue.get("messages", 0) for name, queue in queues.items()}

    def left(self):
        """Count the jobs that are still under way."""
        return sum(self.count_remaining().values())

    def moved(self):
        """Return values that change as long as there is progress."""
        return sum(self.effects().values()), self.left()

    def result(self):
        """Count what went wrong; print lost and dead jobs, and where remaining ones are."""
        effects, where = self.effects(), self.count_remaining()
        if lost := self.sent - effects.keys():
            sys.stdout.write(f"lost: {sorted(lost)[:20]}; dead: {self._rows(DEAD)}\n")
        if any(where.values()):
            sys.stdout.write(f"left: {where}; begun: {self._rows(BEGUN)}\n")
        repeats = {job: times - 1 for job, times in effects.items() if times > 1}
        if repeats:
            sys.stdout.write(f"repeated: {Counter(kind for kind, _ in repeats)}\n")
        return Result(
            lost=len(lost),
            ghost=len(effects.keys() - self.sent),
            duplicated=sum(n for (kind, _), n in repeats.items() if kind in UNDER_A_KEY),
            stuck=sum(where.values()),
            repeats=sum(n for (kind, _), n in repeats.items() if kind not in UNDER_A_KEY),
            counted=self._rows("SELECT coalesce(sum(asked - 1), 0) FROM charges")[0][0],
        )


@pytest.fixture
def ledger(broker, connect, rabbitmq, tmp_path, drain):
    """The load of an experiment, which records sent jobs and their effects."""
    connect(autocommit=True).execute(TABLES)
    (tmp_path / "load.py").write_text(ACTORS)
    broker.add_queue(Queue("parts"))
    broker.add_queue(Queue("letters", kind="classic", levels=4))

    def rows(query):
        with db.connect() as conn:  # each time: an experiment may restart PostgreSQL
            return conn.execute(query).fetchall()

    yield Ledger(broker, rows, rabbitmq, drain)
    for name in ("parts", "letters"):
        del broker.declared_queues[name]


@pytest.fixture
def full(request):
    """Whether the experiment runs at full scale."""
    return request.config.getoption("full")


@pytest.fixture
def seed(request):
    """The random seed of this run; it is printed, and `--fault-seed` repeats it."""
    given = request.config.getoption("fault_seed")
    number = secrets.randbits(32) if given is None else given
    sys.stdout.write(f"--fault-seed={number}\n")  # pytest shows it when the test fails
    random.seed(number)
    return number


class Judge:
    """`judged(result)`: report the result of an experiment, and fail if there was any harm."""

    def __init__(self, drain, judge):
        self.all_sent = drain.begins
        self._judge = judge

    def __call__(self, result):
        return self._judge(result)


@pytest.fixture
def judged(request, seed, drain, tmp_path):
    def judge(result):
        result.seed, result.drain_s = seed, drain.seconds()
        if "kill_a_worker" in request.fixturenames:
            result.notes["kills"] = request.getfixturevalue("kill_a_worker").times
        logs = [log.read_text() for log in tmp_path.glob("worker-*.log")]
        result.threads_dead += sum(len(re.findall(THREAD_DIED, text)) for text in logs)
        report = request.config.getoption("fault_report")
        if report:
            Path(report).write_text(json.dumps(result.as_json()))
        assert result.harm == 0, result
        return result

    return Judge(drain, judge)


@pytest.fixture(scope="session")
def quiet():
    """`quiet(is_over, moved, within_s)`: wait until it is over, or until progress has stopped.

    Missing jobs are not an error here: the experiment counts them.
    """

    def quiet(is_over, moved, within_s, still_s=STILL_S):
        state, began = moved(), time.monotonic()
        since = began
        while not is_over() and time.monotonic() < min(began + within_s, since + still_s):
            time.sleep(0.1)
            if (now := moved()) != state:
                state, since = now, time.monotonic()

    return quiet


class Emptied:
    """Returns whether no job has been left for longer than the age of RabbitMQ's counts.

    A message may have left PostgreSQL already and not be counted by RabbitMQ yet.
    """

    def __init__(self, left):
        self._left = left
        self._since = None

    def __call__(self):
        if self._left():
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        return self._since is not None and time.monotonic() > self._since + COUNTS_S


@pytest.fixture
def sink(ledger, monkeypatch):
    """An external server that receives a request from one in five jobs of the load."""
    with Sink() as server:
        monkeypatch.setenv("FAULTS_SINK", server.url)
        ledger.kinds = (*KINDS, "charged")
        ledger.sink = server
        yield server


@pytest.fixture
def drained(ledger, quiet):
    """`drained(within_s)`: wait until no job is left, and return the counts."""

    def drained(within_s):
        is_empty = Emptied(ledger.left)
        quiet(lambda: is_empty() and ledger.has_all_effects(), ledger.moved, within_s)
        result = ledger.result()
        if ledger.sink:
            result.outside = sum(times - 1 for times in ledger.sink.asked.values())
        return result

    return drained


@pytest.fixture
def harmless(judged, drained):
    """`harmless(within_s=240)`: wait until no job is left, report, and fail if there was harm.

    Further values are notes of the report.
    """

    def harmless(within_s=240, **notes):
        result = drained(within_s)
        result.notes |= notes
        return judged(result)

    return harmless


@pytest.fixture
def all_refused(judged, drained):
    """`all_refused(client)`: wait until no job is left, count, and check that all was refused.

    `client` has the number of attempts in `tried`, and those that were not refused in `accepted`.
    """

    def all_refused(client):
        result = drained(within_s=600)
        done = len(client.accepted)
        result.notes = {"refused": client.tried - done, "done": done}
        judged(result)
        assert client.accepted == []
        assert client.tried

    return all_refused


@pytest.fixture
def start_one(ledger, start_worker):
    """`start_one(ready=False)`: start a worker master that runs the load."""
    return functools.partial(start_worker, "load", threads=4)


@pytest.fixture
def two_workers(start_one):
    """Two worker masters that run the load."""
    return [start_one() for _ in range(2)]


class Killer:
    """Kills worker masters in turn with kill -9, including all they started, and restarts them.

    It waits until another master and its relay are up; if booting took longer than the time between
    kills, no job would ever run.
    """

    def __init__(self, workers, start, eventually):
        self.times = 0
        """Excludes masters that had already ended, because RabbitMQ was down when they booted."""
        self._workers = workers
        self._start = start
        self._eventually = eventually
        self._turn = itertools.cycle(range(len(workers)))

    def __call__(self):
        number = next(self._turn)
        others = [*self._workers[:number], *self._workers[number + 1 :]]
        self._eventually(
            lambda: any(map(is_up, others)) or all(one.process.poll() for one in others),
            within_s=60,
        )
        if self._workers[number].process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may end just now
                self._workers[number].kill()
            self.times += 1
        self._workers[number] = self._start(ready=False)


def is_up(worker):
    return all(words in worker.text() for words in (READY, RELAY_READY))


@pytest.fixture
def kill_a_worker(two_workers, start_one, eventually):
    """`kill_a_worker()`: kill one of `two_workers` with kill -9 and restart it."""
    return Killer(two_workers, start_one, eventually)
