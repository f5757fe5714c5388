"""Workers are rolled from the code of an earlier commit to this one, while jobs are sent and run.

Where the history of the repository is not at hand, from this code to itself.
"""

import itertools
import os
from pathlib import Path

import pytest

import workshed
from tests.e2e import releases
from tests.e2e.conftest import RELAY_READY
from tests.e2e.releases import start_sender
from workshed.settings import PREFIX

__all__ = ["start_sender"]

NOW = Path(workshed.__file__).parents[1]
SENT_BY_NOW = 1_000_000
"""The numbers of what the code that is here sends begin with it."""
ACTORS = """
from datetime import timedelta
from pathlib import Path

import dramatiq

import workshed
from brokers import Queue, broker, schedule
from middleware import RetryOn
from workshed import db
from workshed.jobs import current

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("letters", kind="classic", levels=4))
CODE = str(Path(workshed.__file__).parents[1])
SOON = RetryOn(OSError, attempts=20, wait=timedelta(milliseconds=50))


def write(kind, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s, %s)", (kind, number, CODE))


@dramatiq.actor(broker=broker, queue_name="parts")
def plain(number):
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def retried(number):
    write("retried", number)
    if current.running().attempt == 1:
        raise OSError("told to fail")


@dramatiq.actor(broker=broker, queue_name="letters", once=True)
def mailed(number):
    write("mailed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def committed(number):
    write("committed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def late(number):
    write("late", number)


def commit(number):
    with db.transaction() as conn:
        schedule.send(conn, committed.message(number))


WAYS = {
    "plain": plain.send,
    "retried": retried.send,
    "mailed": mailed.send,
    "committed": commit,
    "late": lambda number: late.send_with_options(args=(number,), delay=300),
}


def send(number):
    kind = [*WAYS][number % len(WAYS)]
    WAYS[kind](number)
    return kind
"""
SHOWN = 30
"""Lines of a log."""
TABLE = "CREATE TABLE public.effects (kind text, number integer, code text)"
SINCE = {
    "the commit before": releases.before_this_code,
    "the newest migration": releases.before_the_last_migration,
}


def troubles(workers):
    """Return what workers have logged from their first error on, but of jobs that are to fail."""
    found = []
    for worker in workers:
        lines = worker.text().splitlines(keepends=True)
        fine = itertools.takewhile(lambda line: not is_trouble(line), lines)
        found += lines[len(list(fine)) :][:SHOWN]
    return found


def is_trouble(line):
    is_error = '"level": "error"' in line and "told to fail" not in line
    return line.endswith("\n") and (is_error or "Traceback" in line)  # the last may not be whole


@pytest.fixture(params=SINCE.values(), ids=SINCE.keys())
def before(request, tmp_path):
    """The folder of the code from which all is rolled to the one that is here."""
    commit, folder = request.param(), tmp_path / "before"
    print("from", commit or "this code itself, as there is no history of it")  # noqa: T201 -- shown when it fails
    releases.unpack(commit, folder)
    return folder


@pytest.fixture
def migrate(run, empty_database_url):
    """`migrate(folder)`: with the migrations that the code there has."""

    def migrate(folder):
        env = {"PYTHONPATH": str(folder), "WORKSHED_DATABASE_URL": empty_database_url}
        code, said = run("-m", "console", "migrate", "--with-product", **env)
        assert code == 0, said

    return migrate


@pytest.fixture
def database_url(empty_database_url, before, migrate):
    """A database as the code before has made it."""
    migrate(before)
    return empty_database_url


@pytest.fixture
def numbers(numbers):
    """Without settings: a release refuses those that it does not know yet."""
    return {name: value for name, value in numbers.items() if not name.startswith(PREFIX)}


def settings_of(folder):
    """Return those of the other tests, as far as the code there knows them."""
    text = (folder / "workshed" / "settings.py").read_text()
    return {PREFIX + "PROBES": "false"} if "    probes:" in text else {}


@pytest.fixture
def path(environment, tmp_path):
    """`path(folder)`: the PYTHONPATH of programs that run the code there."""
    (tmp_path / "released.py").write_text(ACTORS)
    return lambda folder: os.pathsep.join([str(folder), environment["PYTHONPATH"]])


@pytest.fixture
def start(start_worker, path, eventually):
    """`start(folder)`: workers of the code there, with their relay."""

    def start(folder):
        env = {"PYTHONPATH": path(folder), **settings_of(folder)}
        worker = start_worker("released", threads=4, env=env)
        eventually(lambda: RELAY_READY in worker.text(), within_s=60)
        return worker

    return start


@pytest.fixture
def effects(connect):
    """`effects()`: kind, number and code of each, repeats too."""
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    return lambda: conn.execute("SELECT kind, number, code FROM effects").fetchall()


@pytest.fixture
def left(count, rabbitmq):
    """`left()`: how much is on its way, or dead."""

    def left():
        tables = ("schedule", "starts", "unique_locks", "dead")
        rows = sum(count(f"jobs.{table}") for table in tables)
        return rows + sum(queue.get("messages", 0) for queue in rabbitmq.queues().values())

    return left


def test_all_is_rolled_to_this_code_under_load(
    before, migrate, start, path, start_sender, effects, left, eventually
):
    """Old workers go on after the migrations, and start after them, too.

    Each code runs what the other has sent.
    """

    def runs(code, by_now=False):
        """Return how many jobs a code has run that were sent by this one, or by the old one."""
        return sum(
            where == str(code) and (number >= SENT_BY_NOW) == by_now
            for _, number, where in effects()
        )

    def until(is_over):
        eventually(lambda: is_over() or troubles(old + new), within_s=120)
        assert "".join(troubles(old + new)) == ""

    old, new = [start(before), start(before)], []
    senders = [start_sender(path(before), first=0)]
    until(lambda: runs(before))

    migrate(NOW)
    had_run = runs(before)
    until(lambda: runs(before) > had_run + 20)
    new.append(start(NOW))
    senders.append(start_sender(path(NOW), first=SENT_BY_NOW))
    until(lambda: runs(NOW) and runs(before, by_now=True))

    assert old[0].stop() == 0
    new.append(start(NOW))
    old[1].kill()
    until(lambda: runs(NOW, by_now=True))
    had_run = runs(before)
    old.append(start(before))  # somebody wants it back
    until(lambda: runs(before) > had_run)
    for sender in senders:
        sender.stop()
    sent = set.union(*(sender.sent() for sender in senders))
    until(lambda: {(kind, number) for kind, number, _ in effects()} >= sent)
    until(lambda: left() == 0)

    ran = [(kind, number) for kind, number, _ in effects()]
    once = [job for job in ran if job[0] != "plain"]
    assert set(ran) == sent
    assert len(once) == len(set(once))
