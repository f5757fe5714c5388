"""Jobs that have nothing left to do are recorded, counted and reported; others are not."""

import contextlib
from datetime import timedelta

import pytest
from dramatiq.middleware import SkipMessage

from workshed import db
from workshed.jobs import Discard, RecordMissing
from workshed.jobs.control import cancellations
from workshed.jobs.idempotency import completed_generations
from workshed.middleware import RetryOn

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SOON = timedelta(milliseconds=1)


class PaidError(Exception):
    """Named in `discard_on`."""


@pytest.fixture
def discards():
    """The calls of `after_discard`, in order."""
    return []


@pytest.fixture
def order(actor, discards):
    """`order(error)`: an actor that raises it, and records its discards."""

    def declare(error=None, **options):
        def after(message, reason):
            discards.append((message.message_id, reason))

        @actor(
            **{
                "queue_name": "default",
                "actor_name": "order",
                "discard_on": PaidError,
                "after_discard": after,
                **options,
            }
        )
        def order(number):
            if error is not None:
                raise error

        return order

    return declare


@pytest.fixture
def discarded(counted):
    """`discarded()`: the number counted so far."""
    labels = {"actor": "order", "queue": "default"}
    words = "discarded", "skipped"
    return lambda: sum(counted("jobs_total", **labels, outcome=word) for word in words)


@pytest.mark.parametrize(
    "case",
    [
        (PaidError("paid already"), "discarded", "PaidError: paid already"),
        (Discard("paid already"), "discarded", "paid already"),
        (RecordMissing("order", 7), "discarded", "order 7 does not exist"),
        (SkipMessage(), "skipped", "the actor raised SkipMessage"),
    ],
)
def test_a_discard_is_recorded_counted_and_reported(
    case, order, discards, working, rows, eventually, discarded
):
    error, outcome, reason = case
    before = discarded()
    job = order(error)

    with working("default"):
        message = job.send_with_options(args=(7,), origin="transaction")
        eventually(lambda: discards == [(message.message_id, reason)])

    assert rows("SELECT outcome, reason FROM workshed.attempts") == [(outcome, reason)]
    assert discarded() == before + 1


def test_a_discard_is_logged_with_its_reason(order, working, eventually, caplog):
    job = order(Discard("paid already"))

    with working("default"):
        job.send(7)
        eventually(lambda: "discarded: paid already" in caplog.text)


@pytest.mark.rabbitmq("a row that waits is deleted when it is cancelled")
def test_the_discard_of_a_cancelled_job_is_reported_too(order, discards, working, rows, eventually):
    message = order().send(7)
    with db.transaction() as conn:
        cancellations.cancel(conn, message.message_id)

    with working("default"):
        eventually(lambda: discards == [(message.message_id, "cancelled")])


def test_a_job_that_is_retried_or_dead_is_no_discard(order, discards, working, rows, eventually):
    job = order(OSError(), max_retries=0)

    with working("default"):
        job.send(7)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert discards == []


@pytest.mark.parametrize("failure", [ZeroDivisionError("in the function"), SystemExit(1)])
def test_a_callback_that_fails_changes_nothing(
    failure, order, working, rows, count_jobs, eventually, caplog
):
    """If its error were raised, the thread would end, and the job would not be acked."""

    def after(message, reason):
        raise failure

    job = order(PaidError(), after_discard=after)

    with working("default", threads=1):
        job.send(1)
        job.send(2)
        eventually(lambda: len(rows("SELECT 1 FROM workshed.attempts")) == 2)
        eventually(lambda: count_jobs("default") == (0, 0))

    assert caplog.text.count("DiscardRecorder.on_outcome_stored failed") == 2


def test_the_callback_runs_after_the_discard_is_stored(
    order, discards, working, connect, rows, eventually, caplog
):
    """Inside the transaction it would act on what may roll back, and run once per attempt."""
    job, conn = order(PaidError()), connect(autocommit=True)
    conn.execute("""
        CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'fails on purpose' USING ERRCODE = '40001'; END $$
    """)
    conn.execute("""
        CREATE CONSTRAINT TRIGGER fail_in_commit AFTER INSERT ON workshed.attempts
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.fail()
    """)

    with working("default"):
        job.send(7)
        eventually(lambda: "fails on purpose" in caplog.text)
        assert discards == []
        conn.execute("DROP TRIGGER fail_in_commit ON workshed.attempts")
        eventually(lambda: discards)

    assert len(discards) == len(rows("SELECT 1 FROM workshed.attempts")) == 1


def test_a_copy_does_not_run_the_callback(
    actor, discards, working, publish, connect, count_jobs, rows, eventually
):
    """Its outcome does not count, because the other copy may have done the work."""
    started = []

    @actor(queue_name="default", after_discard=lambda *args: discards.append(args))
    def order(message_id):
        with connect() as conn:
            completed_generations.complete_generation(conn, message_id, 0)
        started.append(message_id)
        raise Discard("too late")

    message = order.message("")
    with working("default"):
        publish(message.copy(args=(message.message_id,)), outbox=True)
        eventually(lambda: started)
        eventually(lambda: count_jobs("default") == (0, 0))

    assert discards == []


@pytest.mark.parametrize("after", ["tell", lambda message: None, lambda a, b, c: None])
def test_a_callback_that_could_not_be_called_is_refused(after, order):
    with pytest.raises(ValueError, match="after_discard"):
        order(after_discard=after)


# Missing or not loadable


@pytest.fixture
def people(connect):
    """A table of the application."""
    connect(autocommit=True).execute("CREATE TABLE public.people (name text)")


def taken_away(conn):
    conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def locked(conn):
    conn.execute("SET lock_timeout = '10 ms'")


def slow(conn):
    conn.execute("SET statement_timeout = '10 ms'")
    conn.execute("SELECT pg_sleep(10)")


@pytest.mark.parametrize("hindered", [taken_away, locked, slow])
def test_a_record_that_could_not_be_loaded_does_not_count_as_missing(
    hindered, people, actor, working, relaying, connect, rows, eventually
):
    """ActiveJob before 8.2 discards on any error of loading, so that a restart loses good jobs."""
    with db.transaction() as conn:
        conn.execute("INSERT INTO public.people VALUES ('Ada')")
    found, errors = [], [hindered]

    @actor(queue_name="default", retry_on=RetryOn(Exception, wait=SOON))
    def load(name):
        with db.transaction() as conn:
            if errors:
                errors.pop()(conn)
            query = "SELECT name FROM public.people WHERE name = %s"
            found.append(conn.execute(query, (name,)).fetchone()[0])

    with contextlib.ExitStack() as until:
        lock = connect()
        if hindered is locked:
            lock.execute("LOCK public.people")
        with working("default"):
            load.send("Ada")
            eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))
            lock.rollback()
            until.enter_context(relaying())
            eventually(lambda: found == ["Ada"])

    assert rows("SELECT outcome FROM workshed.attempts") == [("retry",)]


def test_a_record_that_comes_in_time_is_found_at_the_second_look(
    people, actor, working, relaying, rows, eventually
):
    """Discarded at the first miss, a job that overtakes its sender's commit would be lost."""
    found = []

    @actor(queue_name="default")
    def load(name):
        with db.transaction() as conn:
            query = "SELECT name FROM public.people WHERE name = %s"
            person = conn.execute(query, (name,)).fetchone()
        if person is None:
            raise RecordMissing("person", name)
        found.append(person[0])

    with working("default"), relaying():
        with db.transaction() as conn:
            conn.execute("INSERT INTO public.people VALUES ('Ada')")
            load.send("Ada")
            eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE reason = 'snoozed'"))
        eventually(lambda: found == ["Ada"])

    assert rows("SELECT 1 FROM workshed.attempts") == []
