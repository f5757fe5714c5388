"""Messages that get their row before they are published."""

import logging
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from workshed import db
from workshed.errors import DatabaseUnreachableError
from workshed.jobs.locks import unique
from workshed.jobs.outbox import leases
from workshed.transport.errors import (
    BrokerUnreachableError,
    PublishRefusedError,
)
from workshed.transport.publishing import outbox_cleanup

ROWS = "SELECT message_id, reason, possible_duplicate, sent_at IS NOT NULL FROM workshed.schedule"
LOCKS = "SELECT key, message_id, generation FROM workshed.unique_locks"
KEPT = [("outbox_lease", False, True)]


@pytest.fixture
def await_depth(rabbitmq, eventually):
    """`await_depth("emails", 3)`: wait for so many messages, in the queue or with a consumer."""
    return lambda queue, number: eventually(
        lambda: rabbitmq.depth(queue) + rabbitmq.unacked(queue) == number
    )


@pytest.fixture
def forked():
    """`forked(work)`: run it in a child that exits without cleaning up; its exit code."""

    def fork(work):
        pid = os.fork()
        if pid == 0:
            signal.alarm(20)
            status = 1
            try:
                work()
                status = 0
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return fork


@pytest.fixture
def overdue(connect):
    """`overdue()`: let the deadline of all senders with a lease pass."""
    conn = connect(autocommit=True)
    return lambda: conn.execute("UPDATE workshed.schedule SET due_at = workshed.now()")


# Sent


def test_a_mail_is_stored_until_its_outcome(mail, rabbitmq, rows, states, eventually):
    message = mail.send(1)

    eventually(lambda: states() == KEPT)
    assert [row[0] for row in rows(ROWS)] == [message.message_id]
    headers = rabbitmq.peek("emails")[0]["properties"]["headers"]
    assert headers["outbox"] is True
    assert "possible_duplicate" not in headers


def test_a_lease_is_due_after_its_senders_deadline(mail, broker, patience, rows, monkeypatch):
    patience(7)
    monkeypatch.setattr(broker._sender._cleaner, "add", lambda *_: None)

    mail.send(1)

    wait = rows("SELECT due_at - created_at FROM workshed.schedule")[0][0]
    assert wait == timedelta(seconds=12)


def test_a_unique_message_has_a_row_until_its_confirm_and_a_lock(
    send_one, rabbitmq, rows, states, eventually
):
    message = send_one()

    eventually(lambda: states() == [])
    assert rows(LOCKS) == [("k", message.message_id, 0)]
    assert rabbitmq.peek("default")[0]["properties"]["headers"]["outbox"] is True


@pytest.fixture
def taken(monkeypatch):
    """The number of leases that each statement stored."""
    sizes = []
    take = leases.insert_leases

    def noted(conn, found, span):
        sizes.append(len(found))
        take(conn, found, span)

    monkeypatch.setattr(leases, "insert_leases", noted)
    return sizes


def test_many_leases_are_stored_a_window_at_a_time(
    mail, send_one, greet, broker, states, taken, await_depth, eventually
):
    held = send_one(key="3")
    mails = [mail.message(n) for n in range(600)]
    ones = [
        greet.message_with_options(args=(n,), unique_key=key)
        for n, key in enumerate(["1", "2", "1", "3"])
    ]
    taken.clear()

    sent = broker.enqueue_many([*mails, *ones])

    assert taken == [500, 102]
    assert sent[:602] == [*mails, *ones[:2]]
    assert [m.message_id for m in sent[602:]] == [ones[0].message_id, held.message_id]
    await_depth("emails", 600)
    await_depth("default", 3)
    eventually(lambda: states() == KEPT * 600)


# Not sent


def test_while_rabbitmq_is_away_a_message_is_stored_with_its_lock(
    send_one, mail, away, rows, states
):
    away()

    message = send_one()
    mail.send(1)

    assert states() == [("broker_down", False, False), ("broker_down", False, False)]
    assert rows(LOCKS) == [("k", message.message_id, 0)]
    assert send_one(2).message_id == message.message_id


@pytest.mark.usefixtures("unanswered")
def test_a_lease_that_was_not_confirmed_is_left_to_a_relay(mail, send_one, patience, rows, states):
    patience(0.2)

    mail.send(1)
    send_one()

    assert states() == [("broker_down", True, False)] * 2
    assert rows("SELECT DISTINCT due_at <= workshed.now() FROM workshed.schedule") == [(True,)]
    assert len(rows(LOCKS)) == 1


def test_a_lease_that_was_never_published_is_no_possible_duplicate(mail, stuck, patience, states):
    mail.send(0)
    patience(0.2)

    with stuck():
        mail.send(1)

    assert ("broker_down", False, False) in states()


@pytest.mark.usefixtures("not_storing", "unanswered")
def test_without_the_fallback_a_failed_send_leaves_nothing(mail, send_one, patience, rows):
    patience(0.2)

    for send in (mail.send, send_one):
        with pytest.raises(BrokerUnreachableError, match="a copy may have arrived"):
            send(1)

    assert (rows(ROWS), rows(LOCKS)) == ([], [])


def test_a_refused_message_leaves_nothing(send_one, full, rows, eventually):
    full(1)
    keys = iter(map(str, range(1_000)))

    def refused():
        try:
            send_one(key=next(keys))
        except PublishRefusedError:
            return True
        return False

    eventually(refused)
    sent = len(rows(LOCKS))
    with pytest.raises(PublishRefusedError, match="it is full"):
        send_one(key="late")

    assert len(rows(LOCKS)) == sent
    eventually(lambda: rows(ROWS) == [])


@pytest.mark.usefixtures("no_database")
@pytest.mark.parametrize("kind", ["mail", "unique"])
def test_without_postgresql_the_send_fails_and_says_why(mail, send_one, kind, rabbitmq):
    send, why = {
        "mail": (mail.send, "a message for 'emails' is stored before"),
        "unique": (send_one, "a unique message is stored before"),
    }[kind]

    with pytest.raises(
        DatabaseUnreachableError, match=rf"127\.0\.0\.1:9.*nothing was sent.*{why}"
    ) as e:
        send(1)

    assert "secret" not in str(e.value)
    assert sum(queue.get("messages_ready", 0) for queue in rabbitmq.queues().values()) == 0


def test_a_commit_whose_answer_is_lost_is_reported_as_unknown(mail, connect, rows):
    """It may have committed: then a relay sends a message that `send` reported as not sent."""
    connect(autocommit=True).execute("""
        CREATE FUNCTION public.die() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER die AFTER INSERT ON workshed.schedule
               DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.die();
    """)

    with pytest.raises(DatabaseUnreachableError, match="it may have been stored nevertheless"):
        mail.send(1)

    assert rows(ROWS) == []


# Crashes


@pytest.fixture
def dies(broker, forked, monkeypatch):
    """`dies(owner, "method", send)`: a child sends, and dies where it would call that method."""

    def die(owner, name, send):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, lambda *_: os._exit(3))
            assert forked(send) == 3

    return die


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_crash_between_the_lock_and_the_publish_leaves_a_job(
    noted, broker, dies, overdue, working, relaying, rows, eventually
):
    """Without a row next to the lock, a job that no longer exists would hold it for ever."""
    note, done = noted("default")
    dies(broker._publisher, "submit", lambda: note.send_with_options(args=(1,), unique_key="k"))
    assert len(rows(LOCKS)) == 1

    overdue()
    with working("default"), relaying():
        eventually(lambda: done == [1])
        eventually(lambda: rows(ROWS) == [])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("queue", ["default", "emails"])
def test_a_crash_after_the_confirm_costs_a_copy_that_does_not_run(
    noted, broker, dies, overdue, working, relaying, await_depth, queue
):
    note, done = noted(queue)
    dies(broker._sender._cleaner, "add", lambda: note.send_with_options(args=(1,), unique_key="k"))

    overdue()
    with relaying():
        await_depth(queue, 2)
    with working(queue, threads=1):  # two copies that start at once would both run
        await_depth(queue, 0)

    assert done == [1]


# Marks


@pytest.fixture
def written(monkeypatch):
    """The sizes of the batches of marks."""
    sizes = []
    write = outbox_cleanup.write_batch

    def noted(conn, batch):
        sizes.append(sum(map(len, batch.values())))
        write(conn, batch)

    monkeypatch.setattr(outbox_cleanup, "write_batch", noted)
    return sizes


def test_rows_are_marked_in_batches(mail, in_threads, written, states, eventually):
    in_threads(mail.send, range(200), threads=8)

    eventually(lambda: states() == KEPT * 200)
    assert len(written) < 100


def test_rows_are_marked_after_an_outage_of_postgresql(
    mail, broker, servers, connect, monkeypatch, eventually
):
    mail.send(0)
    add = broker._sender._cleaner.add
    stop = servers.postgres.stop
    monkeypatch.setattr(broker._sender._cleaner, "add", lambda *words: (stop(), add(*words)))

    try:
        mail.send(1)
    finally:
        servers.postgres.start()

    conn = connect(autocommit=True)
    query = "SELECT count(*) FROM workshed.schedule WHERE sent_at IS NOT NULL"
    eventually(lambda: conn.execute(query).fetchone() == (2,))


def test_a_failure_in_the_thread_does_not_end_it(mail, states, monkeypatch, eventually, caplog):
    """If it ended, every later row of this process would be left to the relay."""
    keep, failures = (
        leases.keep_until_outcome,
        [ValueError("not PostgreSQL's"), KeyError("nor this")],
    )

    def fail(conn, keys):
        if failures:
            raise failures.pop()
        return keep(conn, keys)

    monkeypatch.setattr(leases, "keep_until_outcome", fail)
    with caplog.at_level(logging.CRITICAL):
        mail.send(1)
        eventually(lambda: len(failures) == 1)
        mail.send(2)
        eventually(lambda: not failures)
        mail.send(3)

    eventually(lambda: KEPT[0] in states())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_marks_its_own_rows_and_not_those_of_its_parent(
    mail, broker, forked, states, eventually, monkeypatch
):
    """With its parent's queue it would wait for a lock that a thread of the parent holds."""
    write, hangs, go_on = outbox_cleanup.write_batch, threading.Event(), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(
            outbox_cleanup,
            "write_batch",
            lambda *batch: (hangs.set(), go_on.wait(60), write(*batch)),
        )
        mail.send(1)
        assert hangs.wait(60)
        mail.send(2)

    assert forked(lambda: (mail.send(3), broker._sender.close())) == 0

    assert states() == [("outbox_lease", False, False)] * 2 + KEPT
    go_on.set()
    eventually(lambda: len([state for state in states() if state == KEPT[0]]) == 2)


def test_pending_marks_are_written_when_the_broker_closes(mail, broker, states):
    for times in (1, 2):  # a broker that is used again after it was closed marks again
        for number in range(20):
            mail.send(number)

        broker.close()

        assert states() == KEPT * 20 * times


def test_marks_that_failed_are_written_when_the_broker_closes(
    mail, broker, states, monkeypatch, eventually
):
    """The thread is in its pause; without a last attempt, a relay would send a copy."""
    cleaner, write, failures = broker._sender._cleaner, outbox_cleanup.write_batch, [1]

    def fail_once(conn, batch):
        if failures:
            failures.pop()
            raise db.errors.OperationalError("not now")
        write(conn, batch)

    monkeypatch.setattr(outbox_cleanup, "write_batch", fail_once)
    cleaner._thread.retry_s = (600.0, 600.0)
    mail.send(1)
    eventually(lambda: cleaner._thread.failures == 1)

    broker.close()

    assert states() == KEPT


def test_a_batch_that_cannot_be_written_delays_no_other_for_ever(
    mail, broker, states, monkeypatch, eventually
):
    write, refused = outbox_cleanup.write_batch, []

    def refuse_first(conn, batch):
        refused[:] = refused or [batch]
        if batch is refused[0]:
            raise ValueError("not PostgreSQL's")
        write(conn, batch)

    monkeypatch.setattr(outbox_cleanup, "write_batch", refuse_first)
    mail.send(1)
    eventually(lambda: refused)

    mail.send(2)

    eventually(lambda: KEPT[0] in states())


def test_a_broker_that_closes_ends_the_thread_that_waits_for_marks(
    mail, broker, states, eventually
):
    mail.send(1)
    eventually(lambda: states() == KEPT)

    broker.close()

    assert not broker._sender._cleaner._thread.is_running


SEND_AND_END = """
import dramatiq
from workshed import broker

@dramatiq.actor(broker=broker, queue_name="emails")
def mail(number): ...

for number in range(20):
    mail.send(number)
"""


def test_pending_marks_are_written_when_the_program_ends(broker, states):
    subprocess.run([sys.executable, "-c", SEND_AND_END], timeout=60, check=True)

    assert states() == KEPT * 20


def test_a_dropped_message_frees_its_lock_only_with_its_row(broker, rows):
    """A relay sends the row if it has it; without the lock a second job could run alongside."""
    with db.transaction() as tx:
        unique.acquire_keys(tx, [unique.KeyClaim("k", "m", 0, "greet", "default")])

    broker._sender._cleaner.add("drop", [("m", 0)])
    broker._sender._cleaner.close()

    assert len(rows(LOCKS)) == 1
