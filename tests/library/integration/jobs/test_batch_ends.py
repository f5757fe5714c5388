"""Jobs of a batch that end at once: the last one is noticed, and none waits without need."""

import random
import threading
from datetime import UTC, datetime
from uuid import uuid4

import dramatiq
import psycopg
import pytest
from psycopg.errors import LockNotAvailable

from workshed.jobs.batches import batches, progress
from workshed.jobs.control import batch_cancellations
from workshed.jobs.dead import dead_jobs
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.claims import ClaimedRow
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.transport.errors import EnvelopeError
from workshed.transport.relay import relay

THREADS = 6


def row(message_id, **options):
    message = dramatiq.Message("default", "tell", (), {}, options, message_id, 1)
    return OutboxRow(message_id, 0, "default", "tell", message.encode().decode(), "transactional")


@pytest.fixture
def make(connect):
    """`make("a", "b")`: create a closed batch of these jobs with a callback per event; its id."""
    conn = connect(autocommit=True)

    def make(*message_ids, close=True):
        batch = str(uuid4())
        callbacks = {event: row(f"{event} {batch}") for event in ("success", "complete", "death")}
        with conn.transaction():
            conn.execute(*batches.open_statement(batch, "", callbacks))
            conn.execute(*batches.join_statement(batch, message_ids))
            if close:
                conn.execute(*batches.close_statement(batch))
        return batch

    return make


@pytest.fixture
def callbacks(connect):
    """`callbacks(batch)`: the callbacks sent for the batch, including repeats."""
    conn = connect(autocommit=True)
    query = "SELECT split_part(message_id, ' ', 1) FROM workshed.schedule WHERE message_id LIKE %s"
    return lambda batch: sorted(name for (name,) in conn.execute(query, (f"% {batch}",)))


@pytest.fixture
def impatient(connect):
    """`impatient()`: a connection that times out on a lock after 50 ms."""

    def one():
        conn = connect()
        conn.execute("SET lock_timeout = '50ms'")
        conn.commit()
        return conn

    return one


def test_of_two_jobs_that_end_at_once_one_waits_only_where_it_must(make, callbacks, impatient):
    """Without the lock on the other rows both transactions would commit, and each would have left
    the callbacks to the other."""
    batch = make("a", "b", "c")
    first, second, third = impatient(), impatient(), impatient()

    batches.end_batch_job(first, "a", "succeeded")  # leaves it to b
    batches.end_batch_job(third, "c", "succeeded")  # to b, too

    with pytest.raises(LockNotAvailable):
        batches.end_batch_job(second, "b", "succeeded")
    second.rollback()
    first.commit()
    third.commit()
    assert callbacks(batch) == []
    batches.end_batch_job(second, "b", "succeeded")
    second.commit()
    assert callbacks(batch) == ["complete", "success"]


def test_jobs_that_are_not_the_last_do_not_wait_for_each_other(make, impatient):
    """With a single counter each would wait for all before it."""
    make(*(f"{number:02}" for number in range(10)))
    open_ones = [impatient() for _ in range(5)]

    for number, conn in enumerate(open_ones):
        assert batches.end_batch_job(conn, f"{2 * number:02}", "succeeded")


def test_a_job_whose_end_is_rolled_back_has_not_ended(make, callbacks, connect):
    batch, first, second = make("a", "b"), connect(), connect()
    batches.end_batch_job(first, "a", "dead")
    first.rollback()

    batches.end_batch_job(second, "b", "succeeded")
    second.commit()

    assert callbacks(batch) == []
    batches.end_batch_job(first, "a", "succeeded")
    first.commit()
    assert callbacks(batch) == ["complete", "success"]


def test_a_second_end_changes_nothing(make, callbacks, conn):
    batch = make("a", "b")

    assert batches.end_batch_job(conn, "a", "succeeded")
    assert not batches.end_batch_job(conn, "a", "dead")
    assert not batches.end_batch_job(conn, "stranger's", "dead")
    conn.commit()

    assert progress.get_progress(conn, batch).succeeded == 1
    assert callbacks(batch) == []


def test_an_event_is_sent_only_once(make, callbacks, connect):
    """Its callback has already run, so only the batch's own row records that it was sent."""
    conn = connect(autocommit=True)
    batch = make("a")
    batches.end_batch_job(conn, "a", "dead")
    assert callbacks(batch) == ["complete", "death"]
    conn.execute("DELETE FROM workshed.schedule")

    conn.execute("UPDATE workshed.batch_jobs SET state = 'pending', ended_at = NULL")
    batches.end_batch_job(conn, "a", "succeeded")

    assert callbacks(batch) == ["success"]


def test_a_job_added_in_the_same_transaction_keeps_the_batch_open(make, callbacks, conn):
    batch = make("a")

    assert conn.execute(*batches.refusal_statement(batch, "a")).fetchone() == ("",)
    conn.execute(*batches.join_statement(batch, ["b"]))
    batches.end_batch_job(conn, "a", "succeeded")
    conn.commit()

    assert callbacks(batch) == []
    batches.end_batch_job(conn, "b", "succeeded")
    conn.commit()
    assert callbacks(batch) == ["complete", "success"]


def test_adding_to_an_open_batch_keeps_it_from_being_closed(make, impatient):
    """Otherwise the batch would be complete and then get another job."""
    batch, adder, closer = make(close=False), impatient(), impatient()

    assert adder.execute(*batches.refusal_statement(batch, None)).fetchone() == ("",)

    for statement in (batches.close_statement(batch), batches.cancel_statement(batch)):
        with pytest.raises(LockNotAvailable):
            closer.execute(*statement)
        closer.rollback()
    adder.execute(*batches.join_statement(batch, ["a"]))
    adder.commit()
    assert closer.execute(*batches.close_statement(batch)).fetchone() == ("true",)
    assert closer.execute(*batches.refusal_statement(batch, None)).fetchone() != ("",)


def test_adding_from_within_a_job_keeps_that_job_from_ending(make, impatient):
    """A copy of the job may be ending at the same moment."""
    batch, adder, copy = make("a"), impatient(), impatient()

    assert adder.execute(*batches.refusal_statement(batch, "a")).fetchone() == ("",)

    with pytest.raises(LockNotAvailable):
        batches.end_batch_job(copy, "a", "succeeded")


def test_a_callback_has_the_timestamp_of_its_sending(make, conn):
    """Dated by the creation of its batch, it may have expired, or a cancel rule may match it."""
    batch = make("a")

    batches.end_batch_job(conn, "a", "succeeded")

    query = "SELECT body::json FROM workshed.schedule WHERE message_id = %s"
    (body,) = conn.execute(query, (f"success {batch}",)).fetchone()
    assert body["message_timestamp"] > 1_700_000_000_000
    assert body["message_id"] == f"success {batch}"
    (kept,) = conn.execute("SELECT count(body) FROM workshed.batch_callbacks").fetchone()
    assert kept == 1  # the callback for a death


def storm(connect, work, rounds):
    """Run each thread's part of each round at the same moment; raise what went wrong."""
    barrier, errors = threading.Barrier(THREADS), []

    def run(number):
        conn = connect()
        try:
            for turn in rounds:
                barrier.wait(60)
                work(conn, turn, number)
        except Exception as err:  # noqa: BLE001 -- raised below
            errors.append(err)
            barrier.abort()

    threads = [threading.Thread(target=run, args=[number]) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise ExceptionGroup("in threads", errors)


@pytest.mark.parametrize("adding", [False, True])
def test_the_last_of_many_that_end_at_once_is_noticed(make, callbacks, connect, scale, adding):
    """Fails, also with a deadlock, where a plain read replaces the lock, or where the jobs that see
    no other pending job do not check one by one."""
    rounds = scale(1_500)
    made = [make(*(f"{turn}-{n}" for n in range(THREADS))) for turn in range(rounds)]
    dice = random.Random(7)  # noqa: S311 -- dice
    rolled_back = {
        (turn, n) for turn in range(rounds) for n in range(THREADS) if dice.random() < 0.2
    }

    def work(conn, turn, number):
        mine = f"{turn}-{number}"
        if (turn, number) in rolled_back:
            batches.end_batch_job(conn, mine, "succeeded")
            conn.rollback()
        if adding and number % 2:
            assert conn.execute(*batches.refusal_statement(made[turn], mine)).fetchone() == ("",)
            conn.execute(*batches.join_statement(made[turn], [f"{mine}-more"]))
        batches.end_batch_job(conn, mine, "succeeded")
        conn.commit()
        if adding and number % 2:
            batches.end_batch_job(conn, f"{mine}-more", "succeeded")
            conn.commit()

    storm(connect, work, range(rounds))

    for batch in made:
        assert callbacks(batch) == ["complete", "success"]


def test_dead_jobs_that_are_retried_at_once_send_each_callback_once(
    make, callbacks, connect, scale
):
    rounds = scale(500)
    made = [make(*(f"{turn}-{n}" for n in range(THREADS))) for turn in range(rounds)]

    def work(conn, turn, number):
        mine = f"{turn}-{number}"
        dead_jobs.add_dead_job(
            conn,
            message_id=mine,
            generation=0,
            attempt=1,
            queue="default",
            actor="tell",
            body=row(mine).body.encode(),
            reason="no",
        )
        batches.end_batch_job(conn, mine, "dead")
        conn.commit()
        assert dead_jobs.retry_job(conn, mine)
        conn.commit()
        batches.end_batch_job(conn, mine, "succeeded")
        conn.commit()

    storm(connect, work, range(rounds))

    for batch in made:
        assert callbacks(batch) == ["complete", "death", "success"]


def test_a_cancel_among_jobs_that_end_sends_each_callback_once(make, callbacks, connect, scale):
    rounds = scale(500)
    made = [make(*(f"{turn}-{n}" for n in range(1, THREADS))) for turn in range(rounds)]

    def work(conn, turn, number):
        if number == 0:
            conn.execute(*batches.cancel_statement(made[turn]))
        else:
            batches.end_batch_job(conn, f"{turn}-{number}", "succeeded")
        conn.commit()

    storm(connect, work, range(rounds))

    conn = connect()
    for batch in made:
        found = progress.get_progress(conn, batch)
        assert found.succeeded == THREADS - 1
        assert callbacks(batch) == (["complete"] if found.cancelled_at else ["complete", "success"])


def test_a_row_that_no_consumer_could_read_counts_as_dead(make, callbacks, connect):
    """Otherwise its batch would wait for it for ever."""
    conn, batch = connect(autocommit=True), make("a")
    taken = ClaimedRow("a", 0, "default", "{}", datetime.now(UTC), possible_duplicate=False)

    relay.dead_letter_row(conn, uuid4(), taken, EnvelopeError("not JSON"))

    assert callbacks(batch) == ["complete", "death"]


# Cancel


def test_a_relay_deletes_the_waiting_jobs_of_a_cancelled_batch(make, callbacks, connect):
    """This includes a row whose transaction was open when the batch was cancelled."""
    conn, late = connect(autocommit=True), connect()
    batch = make("a", "b")
    for name in ("a", "b"):
        schedule.insert_row(conn, row(name, batch=batch))
    late.execute(*batches.refusal_statement(batch, "a"))
    schedule.insert_row(late, row("late", batch=batch))
    late.execute(*batches.join_statement(batch, ["late"]))

    conn.execute(*batches.cancel_statement(batch))
    late.commit()

    assert sorted(batch_cancellations.cancel_waiting_jobs(conn, 2)) == ["a", "b"]
    assert batch_cancellations.cancel_waiting_jobs(conn, 2) == ["late"]
    assert batch_cancellations.cancel_waiting_jobs(conn, 2) == []
    assert callbacks(batch) == ["complete"]
    assert progress.get_progress(conn, batch).cancelled == 3


def test_a_job_on_its_way_is_left_to_the_worker(make, connect):
    conn = connect(autocommit=True)
    batch = make("a")
    conn.execute(*batches.cancel_statement(batch))

    assert batch_cancellations.cancel_waiting_jobs(conn, 10) == []

    assert progress.get_progress(conn, batch).pending == 1
    query = "SELECT may_be_delivered FROM workshed.cancellations WHERE message_id = 'a'"
    assert conn.execute(query).fetchone() == (True,)


def test_workers_learn_of_a_cancelled_job_that_a_relay_has_claimed_meanwhile(make, connect):
    """It waited when its batch was cancelled, so no worker was going to keep its id in memory."""
    conn = connect(autocommit=True)
    batch = make("a")
    schedule.insert_row(conn, row("a", batch=batch))
    conn.execute(*batches.cancel_statement(batch))
    conn.execute("DELETE FROM workshed.schedule")

    assert batch_cancellations.cancel_waiting_jobs(conn, 10) == ["a"]
    assert batch_cancellations.cancel_waiting_jobs(conn, 10) == []

    query = "SELECT may_be_delivered FROM workshed.cancellations WHERE message_id = 'a'"
    assert conn.execute(query).fetchone() == (True,)


def test_a_job_cannot_join_a_second_batch(make, conn):
    make("a")

    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute(*batches.join_statement(str(uuid4()), ["a"]))
