"""From the schedule to RabbitMQ: nothing is lost, and messages sent twice are marked."""

import math
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from workshed import db
from workshed import schedule as outbox
from workshed.jobs.control import queues, workers
from workshed.jobs.control.workers import WorkerIdentity
from workshed.jobs.outbox import claims, relays
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.relay import relay as relay_module
from workshed.transport.relay.relay import POLL_S, WINDOW, WINDOWS_IN_FLIGHT, Relay


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def store(greet):
    """Store so many messages that are due now."""

    def store(number, **when):
        with db.transaction() as conn:
            return [outbox.send(conn, greet.message(n), **when) for n in range(number)]

    return store


@pytest.fixture
def relaying(broker):
    """`with relaying():` a relay runs in a thread."""
    stopping = []

    class Relaying:
        def __init__(self, declared=None):
            self.declared = broker.declared_queues.values() if declared is None else declared

        def __enter__(self):
            self.stop = threading.Event()
            self.publisher = QueueDepthClient(broker.urls, "relay")
            self.relay = Relay(self.publisher, self.stop, declared=self.declared)
            self.thread = threading.Thread(target=self.relay.run)
            stopping.append(self)
            self.thread.start()
            return self.relay

        def __exit__(self, *_):
            self.stop.set()
            self.thread.join(60)
            assert not self.thread.is_alive()
            self.publisher.close()

    yield Relaying
    for one in stopping:
        one.stop.set()


@pytest.fixture
def start_relay(broker, tmp_path):
    """Start a relay process, as `workshed relay` runs it."""
    started = []

    def start():
        with (tmp_path / f"relay-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "workshed.transport.relay.relay"], stdout=log, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(60)


def test_a_due_row_is_sent_and_deleted(store, relaying, rabbitmq, rows, eventually):
    sent = store(3)

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    found = rabbitmq.peek("default")
    assert [m["properties"]["message_id"] for m in found] == [m.message_id for m in sent]
    assert {m["properties"]["headers"]["outbox"] for m in found} == {True}


@pytest.fixture(autouse=True)
def _queues(broker):
    broker.ensure_queues({"default"})


def test_a_row_that_is_not_due_stays(store, relaying, rows, eventually):
    store(2, delay=timedelta(days=3))
    store(1)

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(2,)])


def test_the_row_that_is_due_longest_is_sent_first(
    store, relaying, connect, rabbitmq, rows, eventually
):
    first, second = store(2)
    connect(autocommit=True).execute(
        "UPDATE workshed.schedule SET due_at = due_at - interval '1 hour' WHERE message_id = %s",
        (second.message_id,),
    )

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    order = [m["properties"]["message_id"] for m in rabbitmq.peek("default")]
    assert order == [second.message_id, first.message_id]


def test_rows_without_a_queue_wait_for_it(store, relaying, broker, rabbitmq, rows, eventually):
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")
    store(3)

    with relaying(declared=()):  # only another program can make it
        put_back = "workshed.schedule WHERE claimed_by IS NULL AND due_at > workshed.now()"
        eventually(lambda: rows(f"SELECT count(*) FROM {put_back}") == [(3,)])  # noqa: S608
        broker._declarer.clear()
        broker.ensure_queues({"default"})
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 3)


def test_a_queue_that_was_deleted_is_made_again(store, relaying, rabbitmq, rows, eventually):
    """Nothing else makes it while no worker starts: its rows would be refused for ever."""
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")
    rabbitmq.ask("DELETE", f"exchanges/{rabbitmq.vhost}/workshed.jobs")
    store(3)

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 3)


def test_a_queue_of_another_program_is_bound_again(
    store, relaying, connect, rabbitmq, rows, eventually
):
    """Its workers do not notice that it is unbound, and no relay could make the queue itself."""
    queues.declare_queues(connect(autocommit=True), {"default": "quorum"})
    rabbitmq.ask("DELETE", f"exchanges/{rabbitmq.vhost}/workshed.jobs")
    store(3)

    with relaying(declared=()):
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 3)


def test_a_relay_declares_the_queues_it_knows(relaying, rows, eventually):
    """Otherwise it would delete rows of classic queues at their confirm, which is not on disk."""
    known = (
        "SELECT name, kind FROM workshed.queues WHERE name IN ('default', 'emails') ORDER BY name"
    )

    with relaying():
        eventually(lambda: rows(known) == [("default", "quorum"), ("emails", "classic")])


def test_an_unreadable_row_is_dead_and_blocks_nothing(store, relaying, connect, rows, eventually):
    store(2)
    connect(autocommit=True).execute(
        "UPDATE workshed.schedule SET body = 'nonsense' WHERE body LIKE '%[0]%'"
    )

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    assert rows("SELECT body, error_class FROM workshed.dead") == [(b"nonsense", "EnvelopeError")]


@pytest.mark.fresh_vhost
def test_a_lost_connection_delays_and_loses_nothing(store, relaying, rabbitmq, rows, eventually):
    with relaying():
        eventually(lambda: rabbitmq.close_connections("relay"))
        store(50)
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 50)


def test_a_restart_of_postgresql_delays_and_loses_nothing(
    store, relaying, servers, rabbitmq, connect, eventually
):
    with relaying():
        servers.postgres.stop()
        servers.postgres.start()
        with db.connect() as conn:
            count = "SELECT count(*) FROM workshed.schedule"
            store(50)
            eventually(lambda: conn.execute(count).fetchone() == (0,))

    eventually(lambda: rabbitmq.depth("default") == 50)


def test_messages_in_flight_when_postgresql_was_lost_are_not_published_later(
    greet, relaying, connect, rows, eventually, monkeypatch
):
    """They would duplicate the copies of the next relay that claims their rows, without a mark."""
    with relaying() as relay:
        publisher = relay._publisher
        channel = eventually(lambda: publisher._channel)
        publisher._channel = None  # as for a moment after RabbitMQ has closed it
        with db.transaction() as conn:
            for number in range(WINDOW + 1):
                outbox.send(conn, greet.message(number))
            # Otherwise rows that took long to store would be a window of their own, for a sweep.
            conn.execute("UPDATE workshed.schedule SET due_at = workshed.now()")
        taken = "SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL"
        eventually(lambda: rows(taken) == [(WINDOW + 1,)])
        first = relay.id
        cut_all(connect)
        monkeypatch.setattr(relay_module, "CONFIRM_S", 1)  # not before the second window is claimed
        eventually(lambda: relay.id != first)  # the first window had no confirm

        publisher._channel = channel
        publisher._link.call_soon(publisher._pump)
        assert publisher.count_ready("default", 5) == 0

        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])
        assert publisher.count_ready("default", 5) == WINDOW + 1


def test_messages_confirmed_while_postgresql_was_away_are_sent_once(
    store, relaying, connect, rows, eventually, no_deletes
):
    """If they were forgotten, they would be sent again after 10 s: a thousand for each restart."""
    with relaying() as relay, connect() as lock:
        no_deletes(lock)
        eventually(lambda: rows("SELECT 1 FROM workshed.relays"))
        eventually(lambda: relay._publisher._channel is not None)
        store(3)
        eventually(lambda: relay._publisher.count_ready("default", 5) == 3)

        cut_all(connect)
        lock.rollback()
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

        assert relay._publisher.count_ready("default", 5) == 3


def cut_all(connect):
    """Cut all database connections that `workshed.db` made."""
    query = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'workshed'
    """
    connect(autocommit=True).execute(query)


def test_a_row_whose_transaction_was_open_for_long_is_sent(
    greet, relaying, connect, rows, eventually
):
    """A look begins where the last one ended; only a sweep sees this row."""
    with relaying() as relay, connect() as slow:
        outbox.send(slow, greet.message(1))
        due_at = slow.execute("SELECT due_at FROM workshed.schedule").fetchone()[0]
        eventually(lambda: relay._claim_since is not None and relay._claim_since > due_at)

        slow.commit()

        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])


def test_a_look_does_not_scan_all_rows_sent_since_an_old_snapshot(connect, broker, servers):
    """A report that runs for hours would make each look slower, until the relay does nothing else.

    PostgreSQL keeps the rows that such a snapshot may see, and an index scan from the start reads
    them all.
    """
    old, conn = connect(), connect(autocommit=True)
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT count(*) FROM workshed.schedule")
    conn.execute("""
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        SELECT number, 0, 'default', 'greet', '{}', 'transactional',
               workshed.now() - interval '1 minute'
          FROM generate_series(1, 100000) AS number
    """)
    conn.execute(
        "UPDATE workshed.schedule SET claimed_by = gen_random_uuid(), claimed_at = workshed.now()"
    )
    conn.execute("DELETE FROM workshed.schedule")
    claims.use_indexes(conn)
    relay = Relay(QueueDepthClient(broker.urls, "relay"), threading.Event())
    relay._claim(conn)
    relay._next_sweep_at = math.inf

    assert (
        blocks(conn, relay._claim, conn)
        < blocks(conn, claims.claim_due, conn, relay.id, WINDOW) / 5
    )
    assert blocks(conn, relay._pause, conn) < blocks(conn, claims.time_until_due, conn) / 5


def blocks(conn, function, *args):
    """Return how many blocks of the schedule it reads: the least of three, as a vacuum may run."""
    query = """
        SELECT heap_blks_hit + heap_blks_read + idx_blks_hit + idx_blks_read
          FROM pg_statio_user_tables WHERE relid = 'workshed.schedule'::regclass
    """
    found = []
    for _ in range(3):
        conn.execute("SELECT pg_stat_force_next_flush()")
        (before,) = conn.execute(query).fetchone()
        function(*args)
        conn.execute("SELECT pg_stat_force_next_flush()")
        found.append(conn.execute(query).fetchone()[0] - before)
    return min(found)


def test_while_rabbitmq_is_blocked_a_relay_keeps_its_windows_and_sends_each_row_once(
    store, relaying, alarm, conn, rows, eventually, monkeypatch
):
    """Given up after 30 s, messages that RabbitMQ has not read would be sent twice afterwards."""
    monkeypatch.setattr(relay_module, "CONFIRM_S", 2)  # less than the block lasts
    beat = "SELECT extract(epoch FROM max(beat_at) - min(started_at)) FROM workshed.relays"
    with relaying() as relay:
        eventually(lambda: rows("SELECT 1 FROM workshed.relays"))
        with alarm("memory"):
            store(2_000)
            eventually(lambda: relay._publisher._link.blocked_reason)
            beaten = rows(beat)[0][0]
            eventually(lambda: rows(beat)[0][0] > beaten + 4)

            conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '1 hour'")
            taken = rows("SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL")[0][
                0
            ]
            assert 0 < taken <= WINDOW * WINDOWS_IN_FLIGHT
            assert claims.claim_orphaned(conn, uuid4(), 10) == []
            conn.rollback()
            monkeypatch.setattr(relay_module, "CONFIRM_S", 30)
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

        assert relay._publisher.count_ready("default", 5) == 2_000


def test_rows_of_a_dead_relay_are_claimed_again_and_marked(store, conn, rows):
    """Without the mark, and the deduplication that it triggers, a repeat would run twice."""
    store(2)
    dead, other = uuid4(), uuid4()
    relays.record_relay(conn, dead, "host", 1)
    taken = claims.claim_due(conn, dead, 10)
    conn.commit()
    assert [row.possible_duplicate for row in taken] == [False, False]
    assert claims.claim_orphaned(conn, other, 10) == []  # the first relay lives
    conn.commit()

    conn.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '11 s'")
    conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '11 s'")
    again = claims.claim_orphaned(conn, other, 10)

    assert [row.possible_duplicate for row in again] == [True, True]
    assert claims.delete_sent(conn, dead, taken) == 0  # the dead relay is too late
    assert claims.delete_sent(conn, other, again) == 2


def test_a_blocked_relay_that_beats_keeps_its_rows(store, conn):
    store(1)
    slow, other = uuid4(), uuid4()
    relays.record_relay(conn, slow, "host", 1)
    claims.claim_due(conn, slow, 10)

    conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '1 hour'")

    assert claims.claim_orphaned(conn, other, 10) == []


def test_a_relay_leaves_the_rows_of_a_worker_that_beats(store, conn):
    """A worker that takes jobs from this table may be running them, for however long they take."""
    store(1)
    worker = WorkerIdentity(uuid4(), "host", 1, 8, "")
    workers.record_heartbeat(conn, worker, 1, [])
    claims.claim_due(conn, worker.id, 10)
    conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '1 hour'")
    assert claims.claim_orphaned(conn, uuid4(), 10) == []
    conn.commit()

    conn.execute("UPDATE workshed.workers SET beat_at = beat_at - interval '11 s'")

    assert [row.possible_duplicate for row in claims.claim_orphaned(conn, uuid4(), 10)] == [True]


def test_two_relays_share_the_work(store, relaying, rabbitmq, rows, eventually):
    store(2_000)

    with relaying(), relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 2_000)


def test_a_relay_killed_in_the_middle_loses_nothing(
    store, start_relay, connect, rabbitmq, rows, eventually
):
    first = start_relay()
    eventually(lambda: rows("SELECT 1 FROM workshed.relays"))
    store(4_000)
    eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE claimed_by IS NOT NULL"))

    first.kill()
    # More than ten seconds of silence, without waiting for them.
    aged = connect(autocommit=True)
    aged.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '11 s'")
    aged.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '11 s'")
    start_relay()

    eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])
    eventually(lambda: rabbitmq.depth("default") >= 4_000)


def test_on_sigterm_a_relay_finishes_and_exits(store, start_relay, rows, eventually):
    relay = start_relay()
    eventually(lambda: rows("SELECT 1 FROM workshed.relays"))
    store(1_000)

    relay.send_signal(signal.SIGTERM)

    assert relay.wait(60) == 0
    assert rows("SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL") == [(0,)]
    assert rows("SELECT count(*) FROM workshed.relays") == [(0,)]


def test_a_relay_ends_with_its_parent(broker, rows, eventually):
    """This includes a killed parent, because of `PR_SET_PDEATHSIG`."""
    code = (
        "import subprocess, sys, os, time\n"
        "command = [sys.executable, '-m', 'workshed.transport.relay.relay', '--parent', "
        "str(os.getpid())]\n"
        "print(subprocess.Popen(command).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    relay = int(parent.stdout.readline())
    eventually(lambda: rows("SELECT 1 FROM workshed.relays"))

    parent.kill()
    parent.wait(60)
    parent.stdout.close()

    eventually(lambda: has_ended(relay))
    assert rows("SELECT 1 FROM workshed.relays") == []


def has_ended(pid):
    """Return whether a process has ended, even if its exit code was not collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):  # it ended before the file was opened or read
        return True


def test_a_relay_reports_a_missing_schema(empty_database_url, vhost, monkeypatch):
    monkeypatch.setenv("WORKSHED_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("WORKSHED_BROKER_URL", vhost)

    done = subprocess.run(
        [sys.executable, "-m", "workshed.transport.relay.relay"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode != 0
    assert "run `workshed migrate`" in done.stderr


def test_a_due_row_that_cannot_be_claimed_is_retried_with_a_pause(store, conn, broker):
    """Otherwise a cancelled row in an open transaction would cost thousands of queries a second."""
    store(1)

    assert Relay(QueueDepthClient(broker.urls, "relay"), threading.Event())._pause(conn) == POLL_S


def test_a_row_that_became_due_since_the_last_look_is_taken_at_once(store, conn, broker):
    """At 400 a second, every other look ends with one, and each would wait for 20 ms."""
    relay = Relay(QueueDepthClient(broker.urls, "relay"), threading.Event())
    assert relay._claim(conn) == []

    store(1)

    assert relay._pause(conn) == 0
    assert len(relay._claim(conn)) == 1


@pytest.fixture
def ahead(connect):
    """PostgreSQL's clock is 20 minutes ahead; call it to set the clock right."""
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.clock (shift interval)")
    conn.execute("INSERT INTO public.clock VALUES ('20 min')")
    conn.execute("""
        CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz LANGUAGE sql STABLE
            RETURN (SELECT statement_timestamp() + shift FROM public.clock)
    """)
    return lambda: conn.execute("UPDATE public.clock SET shift = '0'")


@pytest.mark.fresh_database
def test_a_row_that_commits_after_the_clock_was_put_back_is_sent_at_once_too(
    greet, relaying, connect, rows, ahead, eventually
):
    """It was stored before, in a transaction that was still open when the relay noticed."""
    conn = connect(autocommit=True)
    with relaying() as relay:
        eventually(lambda: relay._last_sweep_at is not None)
        with conn.transaction():
            outbox.send(conn, greet.message(1))
            ahead()
            eventually(lambda: relay._last_sweep_at < relay._latest_clock)

        eventually(lambda: rows("SELECT reason FROM workshed.schedule") == [])


@pytest.mark.fresh_database
def test_a_clock_that_is_put_back_does_not_delay_immediate_jobs(
    greet, relaying, connect, rows, ahead, eventually
):
    """One was due a moment ago, and would be due in 20 minutes; a delayed job stays delayed."""
    conn = connect(autocommit=True)

    with relaying() as relay:
        eventually(lambda: relay._last_sweep_at is not None)
        with conn.transaction():
            outbox.send(conn, greet.message(1))
            outbox.send(conn, greet.message(2), delay=timedelta(minutes=10))
        ahead()

        eventually(lambda: rows("SELECT reason FROM workshed.schedule") == [("delayed",)])


def test_a_row_too_large_to_send_is_dead_and_stalls_nothing(
    store, relaying, connect, rabbitmq, rows, eventually
):
    """RabbitMQ would close the channel for it, and so refuse all other messages in flight."""
    store(20)
    connect(autocommit=True).execute(
        "UPDATE workshed.schedule SET body = body || repeat(' ', 2000000) WHERE body LIKE '%[7]%'"
    )

    with relaying():
        eventually(lambda: rows("SELECT count(*) FROM workshed.schedule") == [(0,)])

    eventually(lambda: rabbitmq.depth("default") == 19)
    assert "at most 1048576 are read" in rows("SELECT reason FROM workshed.dead")[0][0]


def test_before_the_first_attempt_nothing_is_connected(broker):
    relay = Relay(QueueDepthClient(broker.urls, "relay"), threading.Event())

    assert relay.status().problems == ["PostgreSQL does not answer", "RabbitMQ is not connected"]


def test_while_postgresql_is_away_it_connects_to_rabbitmq(no_database, relaying, eventually):
    """It reports only the server that is away."""
    with relaying() as relay:
        eventually(lambda: relay.status().problems == ["PostgreSQL does not answer"])


@pytest.fixture
def silent_worker(store, conn):
    """A worker without RabbitMQ that runs a job, and could send no heartbeat for 20 s."""
    store(1)
    worker = WorkerIdentity(uuid4(), "host", 1, 8, "")
    workers.record_heartbeat(conn, worker, 1, [])
    claims.claim_due(conn, worker.id, 10)
    conn.execute("UPDATE workshed.schedule SET claimed_at = claimed_at - interval '20 s'")
    conn.execute("UPDATE workshed.workers SET beat_at = beat_at - interval '20 s'")
    conn.commit()
    return worker


def test_after_an_outage_of_postgresql_a_relay_waits_for_the_heartbeats_of_workers(
    silent_worker, store, relaying, rows, eventually
):
    """Otherwise it would at once publish copies of the jobs that they run."""
    with relaying():
        store(1)
        eventually(lambda: len(rows("SELECT 1 FROM workshed.schedule")) == 1)

    assert rows("SELECT claimed_by FROM workshed.schedule") == [(silent_worker.id,)]


def test_a_relay_takes_the_rows_of_a_worker_that_stays_silent(
    silent_worker, relaying, rows, eventually, monkeypatch
):
    monkeypatch.setattr(relay_module, "DEAD_AFTER", timedelta(seconds=1))

    with relaying():
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule") == [])
