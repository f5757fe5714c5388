"""Relays that are killed, cut off and flooded: nothing is lost, and duplicates are dropped."""

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from datetime import timedelta
from itertools import islice
from pathlib import Path

import pika
import psycopg
import pytest
from dramatiq import Message

from workshed import Queue, db
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.outbox import relays, schedule
from workshed.jobs.outbox.schedule import OutboxRow

ACTORS = """
import dramatiq
from pathlib import Path
from workshed import Queue, broker
from workshed.middleware import OutcomeMiddleware

broker.add_queue(Queue("parts"))

class Effects(OutcomeMiddleware):
    def handles(self, job, outcome):
        return outcome.kind == "succeeded"

    def on_outcome(self, conn, job, outcome):
        conn.execute("INSERT INTO effects VALUES (%s)", job.message.args)

broker.add_middleware(Effects())

@dramatiq.actor(broker=broker, queue_name="parts")
def make(number):
    pass

@dramatiq.actor(
    broker=broker, queue_name="parts", max_retries=1, min_backoff=1000, max_backoff=1000
)
def flaky(number):
    ran = Path(f"ran-{number}")
    if not ran.exists():
        ran.touch()
        raise OSError("the first run fails")
"""
NO_RELAY = {"WORKSHED_RELAY_FORK": "false"}
TWO_WINDOWS = 1_000
COUNT_S = 10
"""How often a relay counts the rows, for metrics; also once when it starts."""


@pytest.fixture
def parts(broker, environment, tmp_path, conn):
    """The actors above, the table of their effects, and their queue."""
    (tmp_path / "parts.py").write_text(ACTORS)
    conn.autocommit = True
    conn.execute("CREATE TABLE effects (number int)")
    broker.add_queue(Queue("parts"))
    broker.ensure_queues({"parts"})
    yield
    del broker.declared_queues["parts"]


@pytest.fixture
def effects(conn, parts):
    """How often each job had its effect, by its number."""
    return lambda: Counter(number for (number,) in conn.execute("SELECT number FROM effects"))


@pytest.fixture
def start_relay(warm, broker, tmp_path, conn, eventually):
    """Start relay processes of their own, as `workshed relay` does; returns once they beat."""
    started = []

    def start(**env):
        log = tmp_path / f"relay-{len(started)}.log"
        process = warm.start("workshed.transport.relay.relay", env={**os.environ, **env}, log=log)
        started.append(process)
        conn.autocommit = True
        beats = "SELECT 1 FROM workshed.relays WHERE pid = %s"
        eventually(lambda: conn.execute(beats, (process.pid,)).fetchone())
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def messages(name, numbers):
    return [Message("parts", name, (number,), {}, {}) for number in numbers]


def store(conn, found):
    """Store messages that are due now; keep those that are stored already."""
    rows = [
        OutboxRow(m.message_id, 0, "parts", m.actor_name, m.encode().decode(), "transactional")
        for m in found
    ]
    with contextlib.suppress(psycopg.errors.UniqueViolation):
        schedule.insert_many(conn, rows, relays.DEAD_AFTER * 0)


@pytest.fixture
def published(vhost):
    """The AMQP properties of all that waits on `parts`, left there; too many for the HTTP API."""

    def published():
        with contextlib.closing(pika.BlockingConnection(pika.URLParameters(vhost))) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=65_535)  # without it, a quorum queue delivers 2000
            left = channel.queue_declare("parts", passive=True).method.message_count
            arriving = channel.consume("parts", inactivity_timeout=30)
            return [properties for _, properties, _ in islice(arriving, left)]

    return published


def ids(found):
    return Counter(properties.message_id for properties in found)


@pytest.fixture
def killed_between(start_relay, connect, conn, rabbitmq, eventually, no_deletes):
    """Kill one of two relays when RabbitMQ has confirmed its windows and its delete waits."""
    waiting = (
        "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def kill(found):
        first, second = start_relay(), start_relay()
        second.send_signal(signal.SIGSTOP)
        with connect() as lock:
            no_deletes(lock)
            store(conn, found)
            eventually(lambda: rabbitmq.depth("parts") == min(len(found), TWO_WINDOWS))
            eventually(lambda: conn.execute(f"SELECT 1 {waiting}").fetchone())
            first.kill()
            # PostgreSQL would notice its death only after the delete.
            conn.execute(f"SELECT pg_terminate_backend(pid) {waiting}")
        second.send_signal(signal.SIGCONT)
        return second

    return kill


def test_one_of_two_relays_is_killed_between_confirm_and_delete(
    killed_between, published, start_worker, rabbitmq, effects, count, eventually, scale
):
    """Without deduplication, each copy would have its effect a second time."""
    wanted = scale(20_000)
    killed_between(messages("make", range(wanted)))
    eventually(lambda: count("workshed.schedule") == 0)

    found = published()
    assert len(ids(found)) == wanted
    assert len(found) == wanted + TWO_WINDOWS
    assert {properties.headers["outbox"] for properties in found} == {True}
    assert sum("possible_duplicate" in properties.headers for properties in found) == TWO_WINDOWS

    worker = start_worker("parts", env=NO_RELAY)
    left = lambda: rabbitmq.depth("parts") + rabbitmq.unacked("parts")  # noqa: E731
    eventually(lambda: left() == 0, within_s=200)
    assert effects() == Counter(range(wanted))
    # The others met a run of the same job in that process, and ended with it.
    duplicates = worker.text().count('"outcome": "duplicate"')
    assert TWO_WINDOWS * 0.9 < duplicates <= TWO_WINDOWS


# Under `dramatiq`


@pytest.fixture
def relay_of(conn, eventually):
    """The pid of the relay that beats now, and that of its supervisor."""
    conn.autocommit = True

    def relay_of(*, other_than=0):
        query = "SELECT pid FROM workshed.relays WHERE pid <> %s ORDER BY started_at DESC"
        relay = eventually(lambda: conn.execute(query, (other_than,)).fetchone())[0]
        return relay, int(Path(f"/proc/{relay}/stat").read_text().rpartition(")")[2].split()[1])

    return relay_of


def has_ended(pid):
    """Return whether a process has ended, even if nothing has read its exit code yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("is_leased", [False, True], ids=["waiting", "held by it"])
def test_a_retry_runs_within_30_s_though_the_only_relay_is_killed(
    start_worker, relay_of, broker, conn, effects, count, eventually, is_leased
):
    """Without a supervisor nothing would restart it, because dramatiq never looks at its forks."""
    start_worker("parts")
    relay, _ = relay_of()
    (flaky,) = messages("flaky", [1])
    broker.enqueue(flaky)
    eventually(lambda: count("workshed.schedule WHERE reason = 'retry'"))

    os.kill(relay, signal.SIGKILL)
    if is_leased:
        conn.execute(
            "UPDATE workshed.schedule SET claimed_by = r.id, claimed_at = workshed.now()"
            "  FROM workshed.relays AS r WHERE r.pid = %s",
            (relay,),
        )

    eventually(lambda: effects() == {1: 1})
    assert relay_of(other_than=relay)


def test_a_relay_ends_with_its_supervisor_and_one_elsewhere_does_its_work(
    start_worker, start_relay, relay_of, broker, conn, effects, eventually
):
    """If it stayed, stopping its master would not end it."""
    worker = start_worker("parts")
    relay, supervisor = relay_of()

    os.kill(supervisor, signal.SIGKILL)

    eventually(lambda: has_ended(relay))
    assert not relays.is_any_alive(conn)
    assert worker.process.poll() is None  # workers go on
    start_relay()
    broker.enqueue(*messages("flaky", [1]))
    eventually(lambda: effects() == {1: 1})


# Faults of the servers


@pytest.fixture
def storing(scale, database):
    """`with storing() as found:` store messages all the time; `found` has the committed ones."""

    def store_surely(batch):
        while True:
            with contextlib.suppress(DatabaseUnreachableError, *db.TRANSIENT_ERRORS):
                with db.connect() as conn:
                    store(conn, batch)
                return

    @contextlib.contextmanager
    def storing():
        found, over = [], threading.Event()

        def work():
            while not over.wait(0.05):
                batch = messages("make", range(scale(200)))
                store_surely(batch)
                found.extend(batch)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()

    return storing


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
def test_a_restart_of_a_server_loses_nothing(
    start_relay, storing, parts, servers, published, scale, eventually, server
):
    """And duplicates are marked as such, for deduplication."""
    start_relay()
    with storing() as stored:
        eventually(lambda: len(stored) > scale(1_000))

        getattr(servers, server).restart()
        eventually(lambda: len(stored) > scale(10_000))

    with db.connect() as conn:
        rows = "SELECT count(*) FROM workshed.schedule"
        eventually(lambda: conn.execute(rows).fetchone() == (0,))
    found = published()
    unmarked = [
        properties for properties in found if "possible_duplicate" not in properties.headers
    ]
    assert set(ids(found)) == {message.message_id for message in stored}
    assert set(ids(unmarked).values()) == {1}


# Many rows


def not_analyzed(conn, old, number):
    """As after a bulk insert."""
    fill(conn, number, timedelta(days=365))


def analyzed(conn, old, number):
    fill(conn, number, timedelta(days=365))
    conn.execute("ANALYZE workshed.schedule")


def under_an_old_snapshot(conn, old, number):
    """A tenth as many rows were sent since it was taken."""
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT")
    fill(conn, number // 10, timedelta(hours=-1))
    conn.execute(
        "UPDATE workshed.schedule SET claimed_by = gen_random_uuid(), claimed_at = workshed.now()"
    )
    conn.execute("DELETE FROM workshed.schedule")
    fill(conn, number, timedelta(days=365))


@pytest.mark.sample(1)
@pytest.mark.parametrize("prepare", [not_analyzed, analyzed, under_an_old_snapshot])
def test_a_million_rows_of_next_year_do_not_delay_a_retry(
    start_relay, retry, conn, connect, scale, prepare
):
    """A plan that scans the table would take a second, and a whole core, for each look."""
    number = scale(1_000_000)
    prepare(conn, connect(), number)
    start_relay()
    scans, reads, began_s = scans_of(conn), reads_of(conn), time.monotonic()

    late = [retry() for _ in range(5)]

    assert timedelta() < min(late)
    assert scans_of(conn) - scans <= counts_since(began_s) * most_scans_of_a_count(conn)
    assert reads_of(conn) - reads < (counts_since(began_s) + 1) * number


def test_a_million_rows_stored_while_it_runs_do_not_slow_it(
    start_relay, retry, conn, rabbitmq, eventually, scale
):
    """With a plan made for an empty table, each delete of a window would read all of it."""
    number = scale(1_000_000)
    conn.execute("VACUUM ANALYZE workshed.schedule")
    start_relay()
    for _ in range(20):
        retry(after=timedelta())
    fill(conn, number, timedelta(days=365))
    reads, began_s = reads_of(conn), time.monotonic()

    store(conn, messages("make", range(2_000)))
    eventually(lambda: rabbitmq.depth("parts") == 2_020)
    retry()

    assert reads_of(conn) - reads < (counts_since(began_s) + 1) * number


def counts_since(began_s):
    """How often the relay may have counted the rows since then, however slow this machine is."""
    return 2 + int((time.monotonic() - began_s) / COUNT_S)


@pytest.fixture
def retry(parts, conn, count, eventually):
    """Store a retry that is due in `after`; return how late it was sent."""

    def retry(after=timedelta(seconds=1)):
        (message,) = messages("make", [1])
        row = OutboxRow(message.message_id, 0, "parts", "make", message.encode().decode(), "retry")
        schedule.insert_row(conn, row, delay=after)
        waits = f"workshed.schedule WHERE message_id = '{message.message_id}'"
        due = conn.execute(f"SELECT due_at FROM {waits}").fetchone()  # noqa: S608 -- ours
        due_at = due[0] if due else conn.execute("SELECT workshed.now()").fetchone()[0]
        eventually(lambda: not count(waits))
        return conn.execute("SELECT workshed.now() - %s", (due_at,)).fetchone()[0]

    return retry


def fill(conn, number, due_in):
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        SELECT gen_random_uuid(), 0, 'parts', 'make', '{}', 'delayed',
               workshed.now() + %s + n * interval '1 ms'
          FROM generate_series(1, %s) AS n
    """
    conn.execute(query, (due_in, number))


def scans_of(conn):
    """How often the table was read from end to end."""
    return statistics(conn)[0]


def most_scans_of_a_count(conn):
    """The most scans that one count makes: each process of a parallel plan counts as one."""
    (most,) = conn.execute("SHOW max_parallel_workers_per_gather").fetchone()
    return 1 + int(most)


def reads_of(conn):
    """How many of its rows were read, by any kind of scan."""
    return sum(statistics(conn)[1:])


def statistics(conn):
    conn.execute("SELECT pg_stat_force_next_flush()")  # includes this session
    conn.execute("SELECT pg_stat_clear_snapshot()")
    query = """
        SELECT seq_scan, seq_tup_read, idx_tup_fetch
          FROM pg_stat_user_tables WHERE relname = 'schedule'
    """
    return conn.execute(query).fetchone()


def test_a_relay_deletes_expired_rows_for_any_application(parts, start_worker, conn, eventually):
    """The workers know no actor but those of the application, and the relay knows none at all."""
    conn.execute("""
        INSERT INTO workshed.dead (message_id, generation, attempt, queue, body, reason, died_at)
        SELECT n, 0, 1, 'parts', '', 'no', workshed.now() - interval '1 year'
          FROM generate_series(1, 2500) AS n
    """)
    conn.execute("""
        CREATE TABLE workshed.runs_2026_01_31 PARTITION OF workshed.runs
            FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z')
    """)

    start_worker("parts")

    query = "SELECT (SELECT count(*) FROM workshed.dead), to_regclass('workshed.runs_2026_01_31')"
    eventually(lambda: conn.execute(query).fetchone() == (0, None))
