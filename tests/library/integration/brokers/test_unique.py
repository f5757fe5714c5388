"""Unique jobs: of one key only one is alive, or one runs, and no key is left over."""

import threading
from datetime import timedelta

import psycopg
import pytest

from workshed import db, schedule
from workshed.errors import DuplicateJobError
from workshed.jobs import Discard
from workshed.jobs.dead import dead_jobs
from workshed.jobs.locks import run_locks, unique
from workshed.middleware import Unique
from workshed.middleware.concurrency import lease_renewal, uniqueness
from workshed.transport.errors import PartialSendError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SCHEDULED = "SELECT message_id FROM workshed.schedule ORDER BY 1"
LOCKS = "SELECT key, message_id, generation FROM workshed.unique_locks"
TURNS = "SELECT key, message_id FROM workshed.run_locks"


@pytest.fixture
def resize(actor):
    """`resize(Unique(…), then)`: an actor with this rule; its runs are in `.ran`."""

    def declare(rule, then=lambda number: None, **options):
        ran = []

        @actor(queue_name="default", actor_name="resize", unique=rule, **options)
        def resize(number):
            ran.append(number)
            then(number)

        resize.ran = ran
        return resize

    return declare


@pytest.fixture
def soon(monkeypatch):
    """Postponed jobs try again at once."""
    monkeypatch.setattr(unique, "KEY_RETRY_DELAY", timedelta(milliseconds=50))
    monkeypatch.setattr(uniqueness, "KEY_RETRY_DELAY", timedelta(milliseconds=50))


@pytest.fixture
def none_left(rows, eventually):
    """Wait until no key, no run lock and no row is left."""
    return lambda: eventually(lambda: (rows(LOCKS), rows(TURNS), rows(SCHEDULED)) == ([], [], []))


# From the send on


def test_a_job_holds_its_key_from_its_send_to_its_end(resize, gate, working, none_left):
    job = resize(Unique(), gate)
    with working("default"):
        first = job.send(1)
        gate.enter()

        second = job.send(number=1)
        other = job.send(2)

        assert second.message_id == first.message_id != other.message_id
        gate.open.set()
        none_left()
    assert sorted(job.ran) == [1, 2]


def test_the_key_is_free_once_the_job_has_started(resize, gate, working, none_left):
    job = resize(Unique("until_executing"), gate)
    with working("default"):
        first = job.send(1)
        gate.enter()

        second = job.send(1)

        assert second.message_id != first.message_id
        gate.open.set()
        none_left()
    assert job.ran == [1, 1]


def test_a_key_with_a_time_is_held_for_it_whatever_the_outcome(
    resize, working, connect, counted, eventually
):
    job = resize(Unique("until_expired", unique_for=timedelta(minutes=5)))
    labels = {"actor": job.actor_name, "queue": "default", "outcome": "succeeded"}
    ended = counted("jobs_total", **labels)
    with working("default"):
        first = job.send(1)
        eventually(lambda: counted("jobs_total", **labels) == ended + 1)

        assert job.send(1).message_id == first.message_id
        expire = "UPDATE workshed.unique_locks SET expires_at = expires_at - interval '5 min'"
        connect(autocommit=True).execute(expire)
        assert job.send(1).message_id != first.message_id
        eventually(lambda: job.ran == [1, 1])


@pytest.mark.parametrize("failure", [Discard("gone"), OSError("no")])
def test_the_key_of_a_job_that_is_discarded_or_dead_is_free(
    failure, resize, working, none_left, eventually
):
    """Held on, as in activejob-uniqueness, the key would refuse all jobs for a day."""

    def fail(_number):
        raise failure

    job = resize(Unique(), fail, max_retries=0)
    with working("default"):
        job.send(1)
        none_left()
        job.send(1)
        eventually(lambda: job.ran == [1, 1])
        none_left()


def test_the_time_of_a_key_counts_from_when_the_job_is_due(resize, rows):
    """Counted from the send, the key of a job for tomorrow would be free before it starts."""
    job = resize(Unique(unique_for=timedelta(minutes=10)))
    span = (
        "SELECT round(extract(epoch FROM expires_at - workshed.now()) / 60) "
        "FROM workshed.unique_locks"
    )

    job.send_with_options(args=(1,), delay=3_600_000)
    job.send(2)

    assert sorted(rows(span)) == [(10,), (70,)]


# When a job does not get its key


def senders(job, broker):
    """Return each way to send."""

    def stored(**when):
        with db.transaction() as conn:
            return schedule.send(conn, job.message(1), **when)

    return {
        "send": lambda: job.send(1),
        "delayed": lambda: job.send_with_options(args=(1,), delay=60_000),
        "many": lambda: broker.enqueue_many([job.message(1)])[0],
        "schedule": stored,
        "schedule, delayed": lambda: stored(delay=timedelta(hours=1)),
    }


WAYS = ["send", "delayed", "many", "schedule", "schedule, delayed"]


@pytest.mark.parametrize("way", WAYS)
def test_a_send_returns_the_job_that_has_the_key(way, resize, broker, rows):
    job = resize(Unique())
    first = job.send_with_options(args=(1,), delay=60_000)

    second = senders(job, broker)[way]()

    assert second.message_id == first.message_id
    assert rows(SCHEDULED) == [(first.message_id,)]


@pytest.mark.parametrize("way", WAYS)
def test_a_send_raises_and_nothing_is_stored(way, resize, broker, rows):
    job = resize(Unique(on_conflict="raise"))
    first = job.send_with_options(args=(1,), delay=60_000)

    with pytest.raises((DuplicateJobError, PartialSendError), match=first.message_id):
        senders(job, broker)[way]()

    assert rows(SCHEDULED) == [(first.message_id,)]


@pytest.mark.parametrize("way", WAYS)
def test_a_job_replaces_one_that_waits(way, resize, broker, rows):
    job = resize(Unique(on_conflict="replace"))
    first = job.send_with_options(args=(1,), delay=60_000)

    second = senders(job, broker)[way]()

    assert second.message_id != first.message_id
    assert [key[1] for key in rows(LOCKS)] == [second.message_id]
    assert (first.message_id,) not in rows(SCHEDULED)
    reason = rows("SELECT message_id, reason FROM workshed.attempts WHERE outcome = 'discarded'")
    assert reason == [(first.message_id, f"replaced by {second.message_id}")]


@pytest.mark.parametrize("way", WAYS)
def test_a_job_waits_for_the_key(way, resize, broker, rows):
    job = resize(Unique(on_conflict="reschedule"))
    first = job.send_with_options(args=(1,), delay=60_000)

    second = senders(job, broker)[way]()

    assert second.message_id != first.message_id
    assert {m for (m,) in rows(SCHEDULED)} == {first.message_id, second.message_id}
    assert [key[1] for key in rows(LOCKS)] == [first.message_id]


@pytest.mark.usefixtures("soon")
def test_a_waiting_job_runs_when_the_key_is_free(
    resize, gate, working, relaying, none_left, rows, eventually
):
    job = resize(Unique(on_conflict="reschedule"), gate)
    with working("default"), relaying():
        job.send(1)
        gate.enter()
        second = job.send(1)
        query = "SELECT generation > 0 FROM workshed.schedule WHERE message_id = %s"
        eventually(lambda: rows(query, second.message_id) == [(True,)])
        assert job.ran == [1]

        gate.open.set()
        eventually(lambda: len(job.ran) == 2)  # on its way it has neither key nor row
        none_left()
    assert job.ran == [1, 1]
    assert rows("SELECT 1 FROM workshed.attempts") == []


def test_a_running_job_that_is_replaced_has_no_outcome(
    resize, gate, working, rows, none_left, eventually
):
    """If its generation were not settled, a failure would store its retry in addition."""

    def then(number):
        if len(job.ran) == 1:
            gate(number)
            raise OSError("no")

    job = resize(Unique(on_conflict="replace"), then)
    with working("default"):
        job.send(1)
        gate.enter()
        job.send(1)
        gate.open.set()
        eventually(lambda: job.ran == [1, 1])
        none_left()

    assert rows("SELECT reason FROM workshed.attempts WHERE outcome = 'retry'") == []


def test_of_many_jobs_that_replace_each_other_the_last_is_sent(
    resize, broker, count_jobs, eventually
):
    job = resize(Unique(on_conflict="replace"))

    sent = broker.enqueue_many([job.message(1) for _ in range(5)])

    assert len({message.message_id for message in sent}) == 1
    eventually(lambda: count_jobs("default")[0] == 1)


@pytest.mark.usefixtures("soon")
def test_a_retried_dead_job_waits_for_its_key(
    resize, gate, working, relaying, connect, rows, none_left, eventually
):
    """Otherwise it would run alongside the job that has the key by then."""

    def then(number):
        if len(job.ran) == 1:
            raise OSError("no")
        gate(number)

    job = resize(Unique(), then, max_retries=0)
    with working("default"), relaying():
        first = job.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        job.send(1)
        gate.enter()
        assert dead_jobs.retry_job(connect(autocommit=True), first.message_id)
        query = "SELECT generation > 1 FROM workshed.schedule WHERE message_id = %s"
        eventually(lambda: rows(query, first.message_id) == [(True,)])
        assert job.ran == [1, 1]

        gate.open.set()
        eventually(lambda: len(job.ran) == 3)  # on its way it has neither key nor row
        none_left()
    assert job.ran == [1, 1, 1]


def test_a_job_sent_in_a_transaction_that_rolls_back_leaves_no_key(resize, rows):
    job = resize(Unique())

    with db.transaction() as conn:
        schedule.send(conn, job.message(1))
        conn.rollback()

    assert (rows(LOCKS), rows(SCHEDULED)) == ([], [])


# While it runs


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("strategy", ["while_executing", "until_and_while_executing"])
def test_only_one_job_of_a_key_runs_at_a_time(
    strategy, resize, working, relaying, none_left, eventually
):
    together, most = [], []
    pause = threading.Event()

    def then(number):
        together.append(number)
        most.append(len(together))
        pause.wait(0.02)
        together.remove(number)

    job = resize(Unique(strategy, key=lambda number: "all"), then)
    with working("default", threads=4), relaying():
        # With `until_and_while_executing` a job sent while another waits is dropped.
        sent = {job.send(number).message_id for number in range(8)}
        eventually(lambda: len(job.ran) == len(sent))
        none_left()

    assert set(most) == {1}


@pytest.mark.usefixtures("soon")
def test_a_job_that_is_sent_while_another_runs_runs_after_it(
    resize, gate, working, relaying, none_left, rows, eventually
):
    job = resize(Unique("until_and_while_executing"), gate)
    with working("default", threads=4), relaying():
        job.send(1)
        gate.enter()
        second = job.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE generation > 0"))
        assert job.send(1).message_id == second.message_id
        assert job.ran == [1]

        gate.open.set()
        eventually(lambda: len(job.ran) == 2)
        none_left()
    assert job.ran == [1, 1]


@pytest.mark.parametrize(("how", "outcome"), [("log", "discarded"), ("raise", "dead")])
def test_a_run_that_does_not_get_its_lock_may_be_dropped_or_fail(
    how, outcome, resize, gate, working, rows, eventually
):
    job = resize(Unique("while_executing", on_conflict=how), gate, max_retries=0)
    query = "SELECT reason FROM workshed.attempts WHERE outcome = %s"
    with working("default"):
        first = job.send(1)
        gate.enter()
        job.send(1)
        [(reason,)] = eventually(lambda: rows(query, outcome))
        assert first.message_id in reason
        gate.open.set()
        eventually(lambda: rows(TURNS) == [])
    assert job.ran == [1]


@pytest.mark.usefixtures("soon")
def test_a_run_that_lost_its_lock_has_no_outcome_and_its_job_runs_again(
    resize, gate, working, relaying, connect, rows, none_left, eventually
):
    """Without the check at its end, a stopped process would store its outcome over the work of the
    run that took its lock."""

    def then(number):
        if len(job.ran) == 1:
            gate(number)

    job = resize(Unique("while_executing"), then)
    with working("default", threads=2), relaying():
        first = job.send(1)
        gate.enter()
        expire = "UPDATE workshed.run_locks SET expires_at = workshed.now() - interval '1 s'"
        connect(autocommit=True).execute(expire)
        job.send(1)
        eventually(lambda: len(job.ran) == 2 and rows(TURNS) == [])
        gate.open.set()
        eventually(lambda: job.ran == [1, 1, 1])
        none_left()

    ended = rows(
        "SELECT generation FROM workshed.completed_generations WHERE message_id = %s",
        first.message_id,
    )
    assert ended in ([(1,)], [(0,)])  # it was sent again, or its row was released


def test_a_run_lock_is_renewed_while_its_job_runs(
    resize, gate, working, rows, monkeypatch, eventually
):
    """Without renewal another run takes it after 30 s, and two run."""
    monkeypatch.setattr(lease_renewal, "EVERY_S", 0.05)
    monkeypatch.setattr(run_locks, "LEASE", timedelta(seconds=1))
    job = resize(Unique("while_executing"), gate)
    query = "SELECT expires_at FROM workshed.run_locks"
    with working("default"):
        job.send(1)
        gate.enter()
        [first] = rows(query)
        eventually(lambda: rows(query) != [first])
        gate.open.set()
        eventually(lambda: rows(query) == [])


def test_a_copy_of_a_job_that_runs_elsewhere_does_not_run_alongside(connect):
    """After a lost connection RabbitMQ gives the job to another process."""
    conn = connect(autocommit=True)
    here, there = (
        run_locks.RunLock("k", token, "m", 0, "resize", "default", "host", 1)
        for token in (
            "00000000-0000-0000-0000-00000000000a",
            "00000000-0000-0000-0000-00000000000b",
        )
    )

    assert run_locks.acquire_lock(conn, here) is None
    assert run_locks.acquire_lock(conn, here) is None  # repeated, as when the first answer was lost
    assert run_locks.acquire_lock(conn, there) == "m"
    assert not run_locks.release_lock(conn, there)
    assert run_locks.release_lock(conn, here)


def test_two_jobs_that_replace_one_do_not_deadlock(conn, connect, in_threads):
    """With the lock first and the outcome second, they deadlock with a worker that settles."""

    def replace(number):
        with connect() as own:
            claim = unique.KeyClaim("k", str(number), 0, "resize", "default", replace=True)
            unique.acquire_key(own, claim)
            own.commit()

    in_threads(replace, range(60), threads=6)

    held = conn.execute("SELECT message_id FROM workshed.unique_locks").fetchall()
    settled = conn.execute("SELECT count(*) FROM workshed.completed_generations").fetchone()
    assert len(held) == 1
    assert settled == (59,)


def test_a_key_that_the_snapshot_cannot_see_is_an_error_of_postgresql(connect):
    """It is not a loop, although the snapshot does not show which job took the key."""
    with connect() as first, connect() as second:
        second.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        second.execute("SELECT 1")
        unique.acquire_key(first, unique.KeyClaim("k", "a", 0, "resize", "default"))
        first.commit()

        with pytest.raises(psycopg.errors.SerializationFailure):
            unique.acquire_key(second, unique.KeyClaim("k", "b", 0, "resize", "default"))
