"""Jobs that start too late: they are dead with that reason, and hold nothing."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from workshed import db, schedule
from workshed.jobs.dead import dead_jobs
from workshed.jobs.idempotency import once_keys
from workshed.jobs.locks import unique

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR_MS = 3_600_000
DEAD = "SELECT message_id, reason FROM workshed.dead"


@pytest.fixture
def runs(actor):
    """The runs of `runs.actor`, whose jobs expire after an hour."""

    class Runs(list):
        pass

    found = Runs()
    declare = actor(queue_name="default", actor_name="note", expires=timedelta(hours=1))
    found.actor = declare(found.append)
    return found


def ago_ms(hours):
    return int(time.time() * 1000) - round(hours * HOUR_MS)


def test_a_job_that_comes_too_late_is_dead(runs, working, publish, rows, eventually):
    with working("default"):
        late = runs.actor.message(1).copy(message_timestamp=ago_ms(3))
        publish(late)
        ((message_id, reason),) = eventually(lambda: rows(DEAD))

    assert message_id == late.message_id
    assert reason.startswith("it had to start within 1:00:00 of ")
    assert " UTC, and came 2:00:0" in reason
    assert rows("SELECT outcome FROM workshed.attempts") == [("expired",)]
    assert runs == []


def test_a_job_that_comes_in_time_runs(runs, working, publish, eventually):
    with working("default"):
        publish(runs.actor.message(1).copy(message_timestamp=ago_ms(0.5)))
        eventually(lambda: runs == [1])


@pytest.mark.parametrize(("own_ms", "ran"), [(HOUR_MS // 4, []), (4 * HOUR_MS, [1])])
def test_the_option_of_the_message_overrides_that_of_the_actor(
    runs, working, publish, rows, rabbitmq, eventually, own_ms, ran
):
    message = runs.actor.message_with_options(args=(1,), expires=own_ms)
    hours = 0.5 if not ran else 3

    with working("default"):
        publish(message.copy(message_timestamp=ago_ms(hours)))
        eventually(lambda: runs or rows(DEAD))

    assert runs == ran


@pytest.mark.parametrize("options", [{"attempt": 2, "generation": 1}, {"generation": 5}])
def test_neither_a_retry_nor_a_snooze_extends_it(runs, working, publish, rows, eventually, options):
    """Counted from the latest generation, a snoozed job would never be too late."""
    message = runs.actor.message(1).copy(message_timestamp=ago_ms(2), options=options)

    with working("default"):
        publish(message, outbox=True, published=int(time.time()))
        eventually(lambda: rows(DEAD))

    assert runs == []


@pytest.mark.parametrize("how", ["delay", "at", "send"])
def test_the_expiry_of_a_delayed_job_counts_from_its_due_time(
    runs, broker, working, publish, rows, eventually, how
):
    """Counted from the send, a job for next week would always be too late."""
    with db.transaction() as conn:
        if how == "delay":
            schedule.send(conn, runs.actor.message(1), delay=timedelta(days=7))
        elif how == "at":
            at = datetime.now(UTC) + timedelta(days=7)
            schedule.send(conn, runs.actor.message(1), at=at)
    if how == "send":
        runs.actor.send_with_options(args=(1,), delay=7 * 24 * HOUR_MS)
    ((body,),) = rows("SELECT body FROM workshed.schedule")
    week = timedelta(days=7)
    sent = type(runs.actor.message(1)).decode(body.encode())
    assert sent.options["due"] - sent.message_timestamp == pytest.approx(
        week / timedelta(milliseconds=1), abs=60_000
    )
    # A week and half an hour have passed.
    rows("DELETE FROM workshed.schedule RETURNING 1")
    due_ms = ago_ms(0.5)
    passed = sent.copy(message_timestamp=ago_ms(7 * 24), options={"due": due_ms})

    with working("default"):
        publish(passed, outbox=True)
        eventually(lambda: runs == [1])


def test_a_retried_expired_job_runs(runs, working, publish, relaying, rows, eventually):
    """Otherwise it would die again at once, each time."""
    late = runs.actor.message(1).copy(message_timestamp=ago_ms(3))

    with relaying(), working("default"):
        publish(late)
        eventually(lambda: rows(DEAD))
        with db.transaction() as conn:
            assert dead_jobs.retry_job(conn, late.message_id)
        eventually(lambda: runs == [1])


def test_an_expired_job_frees_its_key(runs, working, publish, rows, eventually):
    late = runs.actor.message_with_options(args=(1,), unique_key="k")
    late = late.copy(message_timestamp=ago_ms(3))
    with db.transaction() as conn:
        unique.acquire_key(conn, unique.KeyClaim("k", late.message_id, 0, "note", "default"))

    with working("default"):
        publish(late, outbox=True)
        eventually(lambda: rows(DEAD))

    assert rows("SELECT 1 FROM workshed.unique_locks") == []


@pytest.mark.parametrize("claimed", [True, False])
def test_a_job_that_ran_once_is_not_dead_because_its_ack_was_lost(
    actor, working, publish, rows, count_jobs, eventually, claimed
):
    """Its copy comes too late, but the work is done."""
    pay = actor(queue_name="default", actor_name="pay", once=True, expires=timedelta(hours=1))(
        print
    )
    message = pay.message(1).copy(message_timestamp=ago_ms(3))
    if claimed:
        with db.transaction() as conn:
            once_keys.claim_key(conn, "pay", message.message_id, message.message_id)

    with working("default"):
        publish(message, possible_duplicate=True)
        eventually(lambda: rows("SELECT 1 FROM workshed.completed_generations"))
        eventually(lambda: count_jobs("default") == (0, 0))

    assert len(rows(DEAD)) == (not claimed)
    assert all("it was delivered before, so it may have run" in reason for _, reason in rows(DEAD))


@pytest.mark.parametrize("expires", [60_000, timedelta(), timedelta(seconds=-1), "1h"])
def test_the_expiry_of_an_actor_is_a_timedelta(actor, expires):
    with pytest.raises(ValueError, match="not a timedelta above zero"):
        actor(queue_name="default", actor_name="note", expires=expires)(print)
