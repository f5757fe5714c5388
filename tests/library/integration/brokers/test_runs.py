"""The history that a worker writes: every delivery, alongside its jobs, in bounded memory."""

import os
import re
import socket
import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta

import pytest

from workshed import db
from workshed.jobs.history import runs
from workshed.jobs.history.copy_format import encode_row
from workshed.jobs.history.histogram import BOUNDS_S
from workshed.jobs.idempotency import completed_generations
from workshed.middleware import History
from workshed.middleware.observability import history_writer, run_tally
from workshed.middleware.observability.history_writer import HistoryWriter

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def history(connect, eventually):
    """`history(2)`: wait for so many runs; return all, the first one first."""
    conn = connect(autocommit=True)

    def found(count):
        eventually(lambda: len(runs.list_runs(conn)) >= count)
        return runs.list_runs(conn)[::-1]

    return found


def test_a_run_is_recorded_with_all_its_facts(actor, working, history):
    @actor(queue_name="default", tags=["order-7"])
    def charge(order_id, currency="EUR"):
        pass

    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with working("default"):
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        message = charge.send_with_options(args=(7,), kwargs={"currency": "CHF"}, trace=trace)
        [run] = history(1)
    after = datetime.now(UTC)

    assert (run.message_id, run.generation, run.attempt) == (message.message_id, 0, 1)
    assert (run.actor, run.queue, run.outcome, run.reason) == ("charge", "default", "succeeded", "")
    assert (run.error_class, run.error, run.traceback) == (None, None, None)
    assert before <= run.sent_at <= run.published_at <= run.started_at <= run.ended_at <= after
    assert 0 <= run.queue_wait_s < (after - before).total_seconds()
    assert 0 <= run.duration_s < (after - before).total_seconds()
    assert run.worker == f"{socket.gethostname()}:{os.getpid()}"
    assert (run.parent, run.origin, run.tags, run.release) == (None, "send", ["order-7"], "")
    assert run.trace == "0af7651916cd43dd8448eb211c80319c"
    assert run.arguments == {"order_id": 7, "currency": "CHF"}
    assert run.retry_in_s is None


def test_each_attempt_is_a_run_with_its_error(actor, working, relaying, history):
    @actor(queue_name="default", max_retries=1, min_backoff=1, max_backoff=1)
    def fail(number):
        raise ZeroDivisionError("no such number")

    with working("default"), relaying():
        message = fail.send(7)
        first, second = history(2)

    assert [first.outcome, second.outcome] == ["retry", "dead"]
    assert [first.attempt, second.attempt] == [1, 2]
    assert {first.message_id, second.message_id} == {message.message_id}
    assert (first.error_class, first.error) == ("ZeroDivisionError", "no such number")
    assert 'raise ZeroDivisionError("no such number")' in first.traceback
    assert 0 < first.retry_in_s <= 0.001


def test_a_job_that_did_not_run_is_in_the_history_too(actor, working, publish, history):
    @actor(queue_name="default")
    def pay():
        pass

    message = pay.message()
    with working("default"):
        with db.transaction() as conn:
            completed_generations.complete_generation(conn, message.message_id, 0)
        publish(message, possible_duplicate=True)
        [run] = history(1)

    assert (run.outcome, run.started_at, run.duration_s) == ("duplicate", None, None)
    assert "already has an outcome" in run.reason


def test_secret_arguments_are_nowhere_in_what_is_stored(actor, working, history, rows):
    @actor(queue_name="default", max_retries=0, redact=["password"])
    def sign_in(user_id, password):
        raise ValueError(f"{password} is wrong")

    with working("default"):
        sign_in.send(7, "hunter2-canary")
        [run] = history(1)

    assert run.arguments == {"user_id": 7, "password": "[redacted]"}
    assert run.error == "[redacted] is wrong"
    shown = rows("SELECT r::text FROM workshed.runs AS r") + rows(
        "SELECT a::text FROM workshed.attempts AS a"
    )
    shown += rows("SELECT reason FROM workshed.dead")
    assert len(shown) == 3
    assert "hunter2-canary" not in str(shown)


def test_arguments_that_are_too_large_are_left_out(actor, working, history):
    @actor(queue_name="default")
    def read(text):
        pass

    with working("default"):
        read.send("x" * 3_000)
        [run] = history(1)

    assert (run.outcome, run.arguments) == ("succeeded", None)


def test_values_that_jsonb_cannot_hold_are_replaced(actor, working, history):
    """Otherwise PostgreSQL would refuse the other runs of the batch as well."""

    @actor(queue_name="default")
    def read(text):
        pass

    with working("default"):
        read.send("a\0b")
        [run] = history(1)

    assert run.arguments == {"text": "a\N{REPLACEMENT CHARACTER}b"}


def test_a_worker_that_keeps_only_failures_records_no_other_runs(
    actor, broker, working, history, monkeypatch
):
    own = next(m for m in broker.middleware if isinstance(m, History))
    monkeypatch.setattr(own, "_level", "failures")

    @actor(queue_name="default", max_retries=0)
    def divide(number):
        return 1 / number

    with working("default", threads=1):
        divide.send(1)
        divide.send(0)
        [run] = history(1)

    assert run.outcome == "dead"


def test_a_worker_that_keeps_only_failures_counts_the_others(
    actor, broker, working, monkeypatch, conn, eventually
):
    own = next(m for m in broker.middleware if isinstance(m, History))
    monkeypatch.setattr(own, "_level", "failures")
    monkeypatch.setattr(own, "_release", "r7")

    @actor(queue_name="default", max_retries=0)
    def divide(number):
        return 1 / number

    with working("default"):
        for number in (1, 2, 0, 3):
            divide.send(number)
        eventually(lambda: sum(counts(conn).values()) == 4)

    assert counts(conn) == {("divide", "succeeded", "r7"): 3, ("divide", "dead", "r7"): 1}
    assert buckets(conn) == 8


def counts(conn):
    conn.rollback()
    query = "SELECT actor, outcome, release, sum(count) FROM workshed.run_counts GROUP BY 1, 2, 3"
    return {(actor, outcome, release): n for actor, outcome, release, n in conn.execute(query)}


def buckets(conn):
    """Return how many times are counted."""
    query = """
        SELECT count(bucket) FROM workshed.run_counts, unnest(run_buckets || wait_buckets) AS bucket
    """
    return conn.execute(query).fetchone()[0]


def unrecorded(writer, actor="note", duration_s=0.003, queue_wait_s=0.0):
    writer.unrecorded.add(
        actor=actor,
        queue="default",
        outcome="succeeded",
        duration_s=duration_s,
        queue_wait_s=queue_wait_s,
    )


def test_numbers_are_written_once_postgresql_is_back(recording, conn, eventually):
    recording.start()
    unrecorded(recording)
    eventually(lambda: counts(conn) == {("note", "succeeded", ""): 1})

    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid()"
    )
    conn.commit()
    for _ in range(3):
        unrecorded(recording)

    eventually(lambda: counts(conn) == {("note", "succeeded", ""): 4})


def test_the_last_numbers_are_written_at_the_end(recording, conn):
    recording.start()
    unrecorded(recording)

    recording.close()

    assert counts(conn) == {("note", "succeeded", ""): 1}


@pytest.mark.fresh_database
def test_a_writer_that_cannot_write_numbers_keeps_them_and_ends(
    recording, conn, eventually, caplog
):
    """An upgrade is not complete: the function is missing, or it may not be executed."""

    def rename(before, after):
        conn.execute(f"ALTER FUNCTION workshed.{before} RENAME TO {after}")
        conn.commit()

    rename("count_unrecorded_runs", "missing")
    recording.start()
    unrecorded(recording)
    eventually(lambda: recording._thread.failures >= 2)  # so that the pauses grow
    first, second, *_ = re.findall(r"trying again in ([\d.]+) s", caplog.text)
    assert (float(first) >= 0.25, float(second) >= 0.5) == (True, True)
    rename("missing", "count_unrecorded_runs")
    eventually(lambda: counts(conn) == {("note", "succeeded", ""): 1})
    rename("count_unrecorded_runs", "missing")
    before = caplog.text.count("trying again")
    unrecorded(recording)

    recording.close()

    assert not recording._thread.is_running
    assert 1 <= caplog.text.count("trying again") - before <= 3


def test_names_that_postgresql_cannot_hold_lose_no_number(recording, conn):
    recording.start()
    unrecorded(recording, "a\0b\ud800")
    unrecorded(recording, "x" * 500)
    unrecorded(recording, "x" * 501)

    recording.close()

    assert counts(conn) == {
        ("a\N{REPLACEMENT CHARACTER}b?", "succeeded", ""): 1,
        ("x" * 200, "succeeded", ""): 2,
    }


def test_numbers_of_many_names_take_bounded_memory(recording, conn, monkeypatch):
    """PostgreSQL is away, and the names are made up."""
    monkeypatch.setattr(run_tally, "MOST_KINDS", 3)
    for number in range(10):
        unrecorded(recording, f"actor_{number}")

    recording.start()
    recording.close()

    assert sum(counts(conn).values()) == 10
    assert counts(conn)["other", "succeeded", ""] == 7


def test_python_and_postgresql_have_the_same_buckets(conn):
    edges = [bound * part for bound in BOUNDS_S for part in (0.999_999, 1.0, 1.000_001)]
    times = [None, 0.0, -1.0, 1e-9, 1e9, float("inf"), *edges]
    found = conn.execute(
        "SELECT workshed.time_bucket(one) FROM unnest(%s::double precision[]) AS one", (times,)
    )

    assert [bucket for (bucket,) in found] == [run_tally.time_bucket(one) for one in times]


def test_pending_records_are_written_at_the_end(actor, working, history, monkeypatch, eventually):
    """Otherwise the last half second of every worker would be missing."""
    monkeypatch.setattr(history_writer, "LOOK_S", 60.0)
    seen = []

    @actor(queue_name="default")
    def note(number):
        seen.append(number)

    with working("default", threads=1):
        for number in range(10):
            note.send(number)
        eventually(lambda: len(seen) == 10)

    assert len(history(10)) == 10


def record(number, actor="note"):
    now = time.time()
    return encode_row(
        message_id=f"job {number}",
        generation=0,
        attempt=1,
        queue="default",
        actor=actor,
        outcome="succeeded",
        sent=now,
        published=now,
        started=now,
        ended=now,
        queue_wait_s=0.0,
        duration_s=0.0,
        worker="here:1",
        origin="send",
        release="",
        arguments=b"{}",
    )


@pytest.fixture
def recording(database):
    """A recorder of this test."""
    found = HistoryWriter()
    yield found
    found.close()


def test_history_that_exceeds_its_memory_is_dropped_and_counted(
    recording, history, connect, counted, eventually, monkeypatch
):
    """Without a bound a worker would grow while PostgreSQL is slow, until it is killed."""
    each = len(record(1)) + history_writer.OVERHEAD_BYTES
    monkeypatch.setattr(history_writer, "LARGEST_BYTES", 11 * each - 1)

    before = counted("history_rows_dropped_total")
    for number in range(15):
        recording.add(record(number))
    recording.start()

    kept = history(10)
    assert [run.message_id for run in kept] == [f"job {number}" for number in range(10)]
    assert recording.dropped == 5
    eventually(lambda: counted("history_rows_dropped_total") == before + 5)
    eventually(lambda: runs.count_dropped(connect(autocommit=True), timedelta(hours=1)) == 5)
    recording.add(record(15))  # there is room again
    assert history(11)[-1].message_id == "job 15"


def test_a_record_that_arrives_during_the_last_round_is_written(recording, history, monkeypatch):
    """A job may end while its worker, which is stopping, writes what it had queued before."""
    record_dropped = recording._record_dropped

    def add_another(conn):
        record_dropped(conn)
        if recording._thread.is_stopping and late:
            recording.add(late.pop())

    late = [record(2)]
    recording._thread.every_s = 60.0
    monkeypatch.setattr(recording, "_record_dropped", add_another)
    recording.start()
    recording.add(record(1))

    recording.close()

    assert [run.message_id for run in history(2)] == ["job 1", "job 2"]


def test_a_record_that_never_fits_is_counted_at_the_end(recording, history, connect, monkeypatch):
    recording._thread.every_s = 60.0
    recording.start()
    recording.add(record(1))
    recording._thread.wake()
    history(1)
    monkeypatch.setattr(history_writer, "LARGEST_BYTES", 10)
    recording.add(record(2))

    recording.close()

    assert runs.count_dropped(connect(autocommit=True), timedelta(hours=1)) == 1


def test_a_full_window_is_written_at_once(recording, history, monkeypatch):
    monkeypatch.setattr(history_writer, "WINDOW", 3)
    recording._thread.every_s = 600.0
    recording.start()

    for written in (3, 6):  # the second one finds the thread in its pause
        for number in range(3):
            recording.add(record(number))
        assert len(history(written)) == written


def test_records_that_cannot_be_written_at_the_end_are_reported(
    recording, monkeypatch, caplog, eventually
):
    def fail(*_):
        raise db.errors.OperationalError("not now")

    monkeypatch.setattr(runs, "write_runs", fail)
    recording.start()
    recording.add(record(1))
    recording.add(record(2))
    eventually(lambda: recording._thread.failures)

    recording.close()

    assert caplog.messages[-1] == "2 runs are not recorded: not now"


def test_a_writer_creates_the_partitions_of_the_next_days(recording, conn, eventually):
    names = """
        SELECT inhrelid::regclass::text FROM pg_inherits
         WHERE inhparent = 'workshed.runs'::regclass ORDER BY 1
    """
    before = conn.execute(names).fetchall()
    for (name,) in before:
        conn.execute(f"DROP TABLE {name}")
    conn.commit()

    recording.start()

    eventually(lambda: conn.rollback() or conn.execute(names).fetchall())


class Raced(deque):
    """A deque that lets another thread act when it is iterated for the first time."""

    meanwhile = None

    def __iter__(self):
        begun = super().__iter__()
        if self.meanwhile:
            other = threading.Thread(target=self.meanwhile)
            self.meanwhile = None
            other.start()
            other.join(0.2)  # not for ever: it may have to wait for this iteration
        return begun


def test_a_job_that_ends_while_a_window_is_taken_disturbs_nothing(recording, history, caplog):
    """A record added meanwhile stopped the history for half a second, with an error."""
    recording._queue = waiting = Raced()
    recording.add(record(0))
    waiting.meanwhile = lambda: recording.add(record(1))

    recording.start()

    assert [run.message_id for run in history(2)] == ["job 0", "job 1"]
    assert caplog.messages == []


def test_a_record_that_cannot_be_stored_costs_no_other(recording, history, eventually):
    for number in range(3):
        recording.add(record(number))
    recording.add(record(3, actor="a\0b"))
    recording.add(record(4))
    recording.start()

    assert [run.message_id for run in history(4)] == ["job 0", "job 1", "job 2", "job 4"]
    eventually(lambda: recording.dropped == 1)


def test_a_new_day_gets_its_partition(recording, history, conn):
    """No partition exists yet when a worker has run for more than two days."""
    recording.start()
    recording.add(record(1))
    history(1)
    names = conn.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits "
        "WHERE inhparent = 'workshed.runs'::regclass"
    ).fetchall()
    for (name,) in names:
        conn.execute(f"DROP TABLE {name}")
    conn.commit()

    recording.add(record(2))

    assert [run.message_id for run in history(1)] == ["job 2"]


def test_an_outage_of_postgresql_delays_the_history(recording, history, conn, eventually):
    recording.start()
    recording.add(record(1))
    history(1)

    conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid()"
    )
    conn.commit()
    recording.add(record(2))

    eventually(lambda: recording._bytes == 0)
    assert recording.dropped == 0
    assert conn.execute("SELECT count(*) FROM workshed.runs").fetchone() == (2,)
