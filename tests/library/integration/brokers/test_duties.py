"""What a relay does in addition to sending: beat, warn, clean up."""

import math
from datetime import timedelta
from uuid import uuid4

import pytest

from workshed.jobs.control import cancellations, queues, workers
from workshed.jobs.control.workers import WorkerIdentity
from workshed.jobs.dead import dead_jobs
from workshed.jobs.idempotency import completed_generations, once_keys
from workshed.jobs.outbox import relays, schedule
from workshed.settings import settings
from workshed.transport.relay.background import BackgroundTasks
from workshed.transport.relay.gauges import POLL_S, collect_outbox_gauges
from workshed.transport.relay.lag import warn_if_late
from workshed.transport.relay.maintenance import BATCH, Maintenance, delete_silent_processes

MONTH = timedelta(days=30)


@pytest.fixture
def autocommitting(connect):
    return connect(autocommit=True)


@pytest.fixture
def one_late(conn):
    """`one_late(35)`: store a row that has been due for so many seconds."""

    def one_late(seconds):
        row = schedule.OutboxRow("m", 0, "default", "greet", "{}", "transactional")
        schedule.insert_row(conn, row, delay=-timedelta(seconds=seconds))
        return conn

    return one_late


# In the background


def test_a_duty_goes_on_after_an_outage(database, rows, eventually):
    pids = []

    def note(conn):
        pids.append(conn.info.backend_pid)
        conn.execute("SELECT 1")
        return 0.01

    with BackgroundTasks("duties", [note]):
        first = eventually(lambda: pids)[0]
        rows("SELECT pg_terminate_backend(%s)", first)

        eventually(lambda: pids[-1] != first)


def test_a_duty_that_fails_stops_no_other(database, eventually, caplog):
    """If another's failure ended the heartbeat, other relays would take over this relay's rows."""
    done = []

    def fail(conn):
        raise ValueError("not today")

    def work(conn):
        done.append(1)
        return 0.01

    with BackgroundTasks("duties", [fail, work]):
        eventually(lambda: len(done) > 3)

    assert len(caplog.records) == 1  # it is retried later


# Heartbeats


def test_a_relay_lives_while_it_beats(conn):
    assert not relays.is_any_alive(conn)
    relays.record_relay(conn, uuid4(), "here", 1)
    assert relays.is_any_alive(conn)

    conn.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '11 s'")
    assert not relays.is_any_alive(conn)

    relays.record_relay(conn, uuid4(), "elsewhere", 1)
    assert relays.is_any_alive(conn)


# Lag


def test_a_late_schedule_is_logged_at_most_once_a_minute(one_late, caplog):
    assert warn_if_late(one_late(35)) >= 60

    assert "the oldest due job has waited for 35 s" in caplog.text


def test_without_rabbitmq_the_warning_names_the_workers(one_late, caplog, monkeypatch):
    monkeypatch.setenv("WORKSHED_BROKER_URL", "postgresql:")
    settings.cache_clear()

    warn_if_late(one_late(35))

    assert "has waited for 35 s: no worker consumes its queue" in caplog.text
    assert "RabbitMQ" not in caplog.text


def test_a_few_seconds_of_lag_are_not_logged(one_late, caplog):
    assert 10 <= warn_if_late(one_late(5)) < 60

    assert caplog.text == ""


def test_a_row_that_its_relay_cannot_send_is_late_too(one_late, caplog):
    """Otherwise there would be no warning about a RabbitMQ that has been blocked for hours."""
    conn = one_late(35)
    conn.execute(
        "UPDATE workshed.schedule SET claimed_by = gen_random_uuid(), claimed_at = workshed.now()"
    )

    warn_if_late(conn)

    assert "the oldest due job has waited" in caplog.text


# Maintenance


ONLY_TODAYS = {
    "completed_generations": ["today"],
    "once_keys": ["today"],
    "cancellations": ["today"],
}


@pytest.fixture
def fences(autocommitting):
    """`fences(7)`: store so many rows of each kind older than a month, and one of today."""

    def fences(number):
        completed_generations.complete_generation(autocommitting, "today", 0)
        once_keys.claim_key(autocommitting, "charge", "today", "today")
        with autocommitting.transaction():
            cancellations.cancel(autocommitting, "today")
        for insert in (
            "INSERT INTO workshed.completed_generations SELECT id, 0, day FROM old",
            "INSERT INTO workshed.once_keys SELECT 'charge', id, id, day FROM old",
            "INSERT INTO workshed.cancellations SELECT id, day, true FROM old",
        ):
            old = (
                "SELECT 'm' || n, workshed.now() - interval '31 days' FROM generate_series(1, %s) n"
            )
            autocommitting.execute(f"WITH old (id, day) AS ({old}) {insert}", (number,))

    return fences


@pytest.fixture
def left(rows):
    """`left()`: the message ids that remain in each table."""

    def left():
        found = {}
        for table in ONLY_TODAYS:
            ids = rows(f"SELECT message_id FROM workshed.{table}")  # noqa: S608 -- of the names above
            found[table] = [message_id for (message_id,) in ids]
        return found

    return left


def test_records_that_no_copy_can_need_any_more_are_deleted(fences, left, autocommitting):
    fences(BATCH + 10)
    keep_house = Maintenance(MONTH)

    waits = [keep_house(autocommitting) for _ in range(2)]

    assert waits == [0, 3600]  # in short transactions, one after the other
    assert left() == ONLY_TODAYS


def test_crashed_processes_leave_the_lists_after_five_minutes(autocommitting, rows):
    """One that others have not taken over from yet stays."""
    conn = autocommitting
    for minutes, pid in ((4, 1), (6, 2), (6, 3)):
        relays.record_relay(conn, uuid4(), "here", pid)
        workers.record_heartbeat(conn, WorkerIdentity(uuid4(), "here", pid, 8, ""), 0, ())
        for table in ("relays", "workers"):
            conn.execute(
                f"UPDATE workshed.{table} SET beat_at = beat_at - %s WHERE pid = %s",  # noqa: S608
                (timedelta(minutes=minutes), pid),
            )
    conn.execute("UPDATE workshed.workers SET expired_at = now() WHERE pid < 3")

    assert delete_silent_processes(conn) == 60

    assert rows("SELECT pid FROM workshed.relays ORDER BY 1") == [(1,)]
    assert rows("SELECT pid FROM workshed.workers ORDER BY 1") == [(1,), (3,)]


def test_two_maintenance_runs_at_once_do_not_wait_for_each_other(fences, left, connect):
    """If one waited in its transaction, it would hold up workers that store outcomes."""
    fences(BATCH + 10)
    first, second = connect(), connect()
    second.execute("SET lock_timeout = '100ms'")
    keep_house = Maintenance(MONTH)

    keep_house(first)
    keep_house(second)
    first.commit()
    second.commit()

    assert left() == ONLY_TODAYS


# Metrics


def test_waiting_and_dead_jobs_are_counted_for_each_queue(database, autocommitting, counted):
    """A queue that no program has declared is counted too: its name came with a message."""
    conn = autocommitting
    queues.declare_queues(conn, {"default": "quorum", "emails": "classic"})
    for number, (queue, wait) in enumerate([("default", -60), ("default", 60), ("made_up", 60)]):
        row = schedule.OutboxRow(f"m{number}", 0, queue, "greet", "{}", "transactional")
        schedule.insert_row(conn, row, delay=timedelta(seconds=wait))
    bury(conn, "default")
    bury(conn, "invented")

    assert collect_outbox_gauges(conn) >= POLL_S

    def waiting(queue, state):
        return counted("schedule_jobs", queue=queue, state=state)

    assert (waiting("default", "due"), waiting("default", "later")) == (1, 1)
    assert (waiting("emails", "due"), waiting("other", "later")) == (0, 1)
    assert [counted("dead_jobs", queue=name) for name in ("default", "emails", "other")] == [
        1,
        0,
        1,
    ]
    assert 60 <= counted("schedule_lag_seconds") < 90


def test_a_queue_without_dead_jobs_counts_zero(database, autocommitting, counted):
    """A gauge that is no longer set would keep its last value."""
    conn = autocommitting
    queues.declare_queues(conn, {"default": "quorum"})
    bury(conn, "default")
    collect_outbox_gauges(conn)
    assert counted("dead_jobs", queue="default") == 1

    conn.execute("DELETE FROM workshed.dead")
    collect_outbox_gauges(conn)

    assert counted("dead_jobs", queue="default") == 0


def test_the_age_of_the_latest_death_is_measured_for_each_queue(database, autocommitting, counted):
    """The count may rise and fall between two looks, or fall with a retry, and hide a death."""
    conn = autocommitting
    queues.declare_queues(conn, {"default": "quorum", "emails": "classic"})
    for queue, seconds in {"default": 60, "invented": 300, "made_up": 120}.items():
        bury(conn, queue)
        aged = "UPDATE workshed.dead SET died_at = died_at - %s WHERE queue = %s"
        conn.execute(aged, (timedelta(seconds=seconds), queue))

    collect_outbox_gauges(conn)

    assert 60 <= counted("dead_age_seconds", queue="default") < 90
    assert 120 <= counted("dead_age_seconds", queue="other") < 150
    assert math.isnan(counted("dead_age_seconds", queue="emails"))


def bury(conn, queue):
    dead_jobs.add_dead_job(
        conn,
        message_id=queue,
        generation=0,
        attempt=1,
        queue=queue,
        actor="greet",
        body=b"{}",
        reason="no",
        error=ValueError("no"),
    )
