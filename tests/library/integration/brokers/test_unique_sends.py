"""Unique keys of sends, and sends of a job that runs once: they commit together."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from workshed import db
from workshed.jobs.idempotency import once_keys
from workshed.transport.errors import InvalidOptionError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

ROWS = "SELECT message_id, reason, possible_duplicate, sent_at IS NOT NULL FROM workshed.schedule"
LOCKS = "SELECT key, message_id, generation FROM workshed.unique_locks"


def test_a_mail_that_ran_has_no_row(noted, working, states, eventually):
    mail, done = noted("emails")

    with working("emails"):
        mail.send(1)

        eventually(lambda: done == [1])
        eventually(lambda: states() == [])


def test_a_key_that_is_held_names_its_job(send_one, count_jobs, rows, eventually):
    first = send_one(1)

    second = send_one(2)
    third = send_one(3, delay=timedelta(hours=1))

    assert second.message_id == third.message_id == first.message_id
    assert (second.args, third.args) == ((2,), (3,))
    eventually(lambda: count_jobs("default")[0] == 1)
    assert rows(LOCKS) == [("k", first.message_id, 0)]


def test_a_key_is_free_once_its_job_has_ended(noted, working, rows, eventually):
    note, done = noted("default")

    with working("default"):
        for number in (1, 2):
            note.send_with_options(args=(number,), unique_key="k")
            eventually(lambda n=number: n in done and rows(LOCKS) == [])


@pytest.fixture
def once():
    """`with once() as conn:` a transaction as in a job that runs once."""

    @contextlib.contextmanager
    def run():
        with db.transaction() as conn:
            once_keys.claim_key(conn, "charge", "7", "7")
            with db.join_transaction(conn):
                yield conn

    return run


def test_messages_from_a_job_that_runs_once_commit_with_it(
    once, mail, send_one, broker, states, rows
):
    with once():
        first = send_one()
        mail.send(1)
        asyncio.run(broker.send_async(mail.message(2)))
        [_, other] = broker.enqueue_many([mail.message(3), first.copy(message_id="another")])
        assert (rows(ROWS), rows(LOCKS)) == ([], [])

    assert other.message_id == first.message_id
    assert states() == [("transactional", False, False)] * 4
    assert len(rows(LOCKS)) == 1


def test_messages_from_a_job_that_runs_once_are_rolled_back_with_it(
    once, mail, send_one, broker, rows
):
    with once() as conn:
        broker.enqueue_many([mail.message(1), mail.message(2)])
        send_one()
        conn.rollback()

    assert (rows(ROWS), rows(LOCKS)) == ([], [])


def test_a_unique_job_that_is_retried_keeps_its_key(actor, working, rows, eventually):
    """Were it freed with the failed attempt, another job would run alongside its retry."""

    @actor(queue_name="default", max_retries=1, min_backoff=60_000)
    def fail():
        raise OSError("no")

    with working("default"):
        first = fail.send_with_options(unique_key="k")
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE reason = 'retry'"))
        second = fail.send_with_options(unique_key="k")

    assert second.message_id == first.message_id
    held = rows("SELECT message_id, generation FROM workshed.unique_locks")
    assert held == [(first.message_id, 1)]


def test_a_unique_job_whose_lock_was_released_still_runs_and_is_counted(
    actor, working, connect, rows, eventually, counted
):
    """The job is dropped for no lock that is gone for another reason than its own outcome."""
    before = counted("unique_lock_lost_total", actor="resize")
    ran = []
    resize = actor(queue_name="default", actor_name="resize")(lambda: ran.append("resized"))
    resize.send_with_options(unique_key="k")
    connect(autocommit=True).execute("DELETE FROM workshed.unique_locks")

    with working("default"):
        eventually(lambda: counted("unique_lock_lost_total", actor="resize") == before + 1)
        eventually(lambda: ran == ["resized"])


def test_a_delayed_unique_message_has_its_lock_with_its_row(send_one, rows, states):
    message = send_one(delay=timedelta(hours=1))

    assert rows(LOCKS) == [("k", message.message_id, 0)]
    assert states() == [("delayed", False, False)]


@pytest.mark.parametrize("key", ["", "x" * 1_001, "a\0b", "\ud800", 7])
def test_a_key_that_could_not_be_stored_is_refused(send_one, key):
    with pytest.raises(InvalidOptionError, match="unique_key"):
        send_one(key=key)


def test_of_many_senders_at_once_one_sends(send_one, count_jobs, in_threads, eventually):
    ids = []

    in_threads(lambda n: ids.append(send_one(n).message_id), range(50), threads=8)

    assert len(set(ids)) == 1
    eventually(lambda: count_jobs("default")[0] == 1)
