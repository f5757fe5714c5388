"""Jobs run in the test's own thread, with everything around them as in a worker."""

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest

from workshed import broker, db, schedule
from workshed.cronspec import daily
from workshed.jobs import Discard, Snooze, scheduled_for
from workshed.testing.errors import EndlessError, KitError
from workshed.testing.fake_broker import NotStoredError
from workshed.transport.errors import InvalidArgumentError


def test_a_job_runs_when_it_is_drained_and_not_before(jobs, greet):
    greet.send(7)
    assert greet.greeted == []

    assert jobs.drain() == 1

    assert greet.greeted == [(7, "hello")]
    assert jobs.enqueued == []


def test_jobs_run_in_the_order_in_which_they_were_sent(jobs, greet):
    broker.enqueue_many([greet.message(n) for n in range(50)])
    greet.send(50)

    jobs.drain()

    assert [user for user, _ in greet.greeted] == list(range(51))


def test_of_many_messages_all_are_enqueued_or_none(jobs, greet):
    with pytest.raises(InvalidArgumentError):
        broker.enqueue_many([greet.message(1), greet.message(float("inf"))])

    jobs.refute_enqueued(greet)


def test_an_argument_of_another_type_is_refused_as_in_production(jobs, actor):
    """Otherwise the test would pass, and the send would fail in production."""

    @actor(actor_name="annotated")
    def annotated(user_id: int):
        pass

    with pytest.raises(InvalidArgumentError, match="argument user_id"):
        annotated.send("seven")

    jobs.refute_enqueued(annotated)


def test_run_next_runs_a_single_job(jobs, greet):
    greet.send(1)
    greet.send(2)
    jobs.fail_next(greet, ZeroDivisionError)

    with pytest.raises(ZeroDivisionError):
        jobs.run_next()
    assert str(jobs.run_next().message) == "greet(2)"

    assert jobs.run_next() is None
    assert greet.greeted == [(2, "hello")]


def test_jobs_that_a_job_sends_run_too(jobs, actor, greet):
    fan_out = actor(actor_name="fan_out")(lambda n: [greet.send(i) for i in range(n)] and None)
    fan_out.send(3)

    assert jobs.drain() == 4


def test_a_job_that_is_not_due_waits(jobs, greet):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))

    assert jobs.drain() == 0


def test_a_job_runs_in_the_thread_of_the_test(jobs, actor):
    threads = []
    note = actor(actor_name="note")(lambda: threads.append(threading.current_thread()))
    before = set(threading.enumerate())
    note.send()

    jobs.drain()

    assert threads == [threading.current_thread()]
    assert set(threading.enumerate()) <= before


def test_perform_returns_what_the_actor_returns(jobs, greet):
    assert jobs.perform(greet, 7, greeting="hi") == "hi 7"


def test_perform_runs_that_job_and_no_other(jobs, greet):
    greet.send(1)

    jobs.perform(greet, 2)

    assert greet.greeted == [(2, "hello")]
    jobs.assert_enqueued(greet, 1)


def test_arguments_arrive_as_json_returns_them(jobs, actor):
    seen = []
    note = actor(actor_name="note")(seen.append)

    jobs.perform(note, {"a": [1, 2.5]})

    assert seen == [{"a": [1, 2.5]}]
    with pytest.raises(InvalidArgumentError):
        jobs.perform(note, (1, 2))


def test_arguments_that_do_not_fit_name_the_actor(jobs, greet):
    with pytest.raises(TypeError, match=r"greet\(user_id, greeting='hello'\): missing"):
        jobs.perform(greet)


def test_the_error_of_a_job_is_raised_with_its_own_traceback(jobs, actor):
    def explode():
        raise ZeroDivisionError("here")

    bad = actor(actor_name="bad")(explode)
    bad.send()

    with pytest.raises(ZeroDivisionError, match="here") as drained:
        jobs.drain()
    with pytest.raises(ZeroDivisionError, match="here") as performed:
        jobs.perform(bad)

    assert drained.traceback[-1].name == performed.traceback[-1].name == "explode"
    jobs.assert_enqueued(bad, in_=timedelta(seconds=13), within=timedelta(seconds=2.1), times=2)


def test_the_first_error_is_raised_once_all_have_run(jobs, actor, greet):
    errors = [ValueError("first"), ValueError("second")]

    def fail():
        raise errors.pop(0)

    bad = actor(actor_name="bad")(fail)
    bad.send()
    bad.send()
    greet.send(7)

    with pytest.raises(ValueError, match="first"):
        jobs.drain()

    assert greet.greeted == [(7, "hello")]


@pytest.mark.parametrize("said", [Discard("nothing to do"), Snooze(timedelta(minutes=1))])
def test_a_discard_or_snooze_raises_nothing(jobs, actor, said):
    def say():
        raise said

    saying = actor(actor_name="saying")(say)
    saying.send()

    jobs.drain()
    assert jobs.perform(saying) is None


def test_jobs_that_send_each_other_for_ever_are_stopped(jobs, actor):
    again = actor(actor_name="again")(lambda n: again.send(n + 1) and None)
    again.send(1)

    with pytest.raises(EndlessError) as ended:
        jobs.drain(at_most=20)

    assert str(ended.value).splitlines() == [
        "20 jobs have run, and there are still 1 due: do they send each other?",
        "`drain(at_most=…)` lets more run.",
        "the last to run (5):",
        *(f"  again({n})  succeeded" for n in range(16, 21)),
        "due (1):",
        "  again(21)  default  now",
    ]


def test_exactly_as_many_as_may_run_are_not_endless(jobs, greet):
    for n in range(3):
        greet.send(n)

    assert jobs.drain(at_most=3) == 3


def test_a_job_that_runs_once_commits_with_what_it_sends(jobs, actor, greet):
    def send_and_fail():
        greet.send(1)
        raise ValueError("on purpose")

    bad = actor(actor_name="bad", once=True, max_retries=0)(send_and_fail)

    with pytest.raises(ValueError, match="on purpose"):
        jobs.perform(bad)

    jobs.refute_enqueued(greet)


def test_a_copy_of_a_job_that_ran_is_dropped(jobs, actor, greet):
    """Without deduplication, as if each row were a direct send, it would greet twice."""
    message = greet.send(7)
    jobs.drain()
    broker.enqueue(message)

    jobs.drain()

    assert greet.greeted == [(7, "hello")]


def test_a_cancelled_job_does_not_run(jobs, greet):
    message = greet.send_with_options(args=(7,), delay=timedelta(days=3))
    with db.transaction() as conn:
        assert schedule.cancel(conn, message.message_id) == "deleted"

    assert jobs.enqueued == []


def test_a_second_job_with_the_same_key_is_not_enqueued(jobs, greet):
    first = greet.send_with_options(args=(1,), unique_key="greeting")
    second = greet.send_with_options(args=(2,), unique_key="greeting")

    assert second.message_id == first.message_id
    jobs.assert_enqueued(greet, ANY, times=1)
    jobs.drain()
    assert greet.send_with_options(args=(3,), unique_key="greeting").args == (3,)


def test_a_unique_job_holds_its_key_until_it_ends(jobs, greet):
    first = greet.send_with_options(args=(1,), unique_key="greeting")
    jobs.fail_next(greet, TimeoutError)
    with jobs.expect_retry():
        jobs.drain()

    second = greet.send_with_options(args=(2,), unique_key="greeting")
    assert second.message_id == first.message_id
    jobs.advance(minutes=1)
    jobs.drain()

    third = greet.send_with_options(args=(3,), unique_key="greeting")
    assert third.message_id != first.message_id
    assert greet.greeted == [(1, "hello")]


def test_a_job_sent_by_sql_is_enqueued(greet, jobs):
    """The function knows the actors that a worker has declared; here the kit has declared them."""
    with db.transaction() as conn:
        conn.execute("SELECT workshed.send('greet', '[404]', delay => '1 day')")

    jobs.assert_enqueued(greet, 404, in_=timedelta(days=1))


def test_an_async_send_is_enqueued_too(jobs, greet):
    asyncio.run(broker.send_async(greet.message(1), delay=timedelta(minutes=1)))

    jobs.assert_enqueued(greet, 1, in_=timedelta(minutes=1))


def test_a_job_of_a_transaction_is_seen_once_that_commits(jobs, greet):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        jobs.refute_enqueued(greet)
        assert jobs.drain() == 0

    jobs.assert_enqueued(greet, 7)


def test_a_job_of_a_rolled_back_transaction_is_not_enqueued(jobs, greet):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        conn.rollback()

    jobs.refute_enqueued(greet)


def run_sql(query):
    with db.transaction() as conn:
        conn.execute(query)


@pytest.fixture
def no_fence(jobs):
    """The table of outcomes is gone, so that none can be stored."""
    run_sql("ALTER TABLE workshed.completed_generations RENAME TO gone")
    yield
    run_sql("ALTER TABLE workshed.gone RENAME TO completed_generations")


@pytest.fixture
def deadlocks(jobs):
    """Each outcome meets a deadlock, which a worker would retry until it succeeds."""
    run_sql("""
        CREATE FUNCTION workshed.fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'fails on purpose' USING ERRCODE = '40P01'; END $$;
        CREATE TRIGGER fail BEFORE INSERT
            ON workshed.completed_generations EXECUTE FUNCTION workshed.fail();
    """)
    yield
    run_sql("DROP FUNCTION workshed.fail CASCADE")


@pytest.mark.usefixtures("no_fence")
def test_an_outcome_that_cannot_be_stored_is_raised(jobs, greet):
    """A worker would dead-letter the job and log why."""
    greet.send(7)

    with pytest.raises(NotStoredError, match=r"of greet\(7\) could not be stored") as failed:
        jobs.drain()

    assert 'relation "workshed.completed_generations" does not exist' in str(failed.value.__cause__)


@pytest.mark.usefixtures("deadlocks")
def test_an_outcome_that_meets_a_deadlock_does_not_keep_the_test_waiting(jobs, greet):
    greet.send(7)

    with pytest.raises(NotStoredError) as failed:
        jobs.drain()

    assert "fails on purpose" in str(failed.value.__cause__)


def test_a_periodic_job_knows_the_time_it_is_for(jobs, actor):
    found = []

    @actor(actor_name="report", queue_name="low", periodic=daily("09:00"))
    def report():
        found.append(scheduled_for())

    report.send_with_options(scheduled_for=1_772_442_000_000)
    report.send()
    jobs.drain()

    assert found == [datetime(2026, 3, 2, 9, tzinfo=UTC), None]


def test_a_periodic_job_is_performed_for_its_planned_time(jobs, actor):
    @actor(actor_name="report", queue_name="low", periodic=daily("09:00"))
    def report():
        return scheduled_for()

    planned = datetime(2026, 3, 2, 9, tzinfo=UTC)

    assert jobs.perform_periodic(report, scheduled_for=planned) == planned
    assert jobs.perform(report) is None


def test_only_a_periodic_job_has_a_planned_time_and_one_with_a_zone(jobs, actor):
    plain = actor(actor_name="plain", queue_name="low")(lambda: None)
    report = actor(actor_name="report", queue_name="low", periodic=daily("09:00"))(lambda: None)

    with pytest.raises(KitError, match=r"plain is not periodic: use jobs\.perform"):
        jobs.perform_periodic(plain, scheduled_for=datetime(2026, 3, 2, 9, tzinfo=UTC))
    with pytest.raises(KitError, match="needs a time zone: 2026-03-02T09:00:00"):
        jobs.perform_periodic(report, scheduled_for=datetime(2026, 3, 2, 9))  # noqa: DTZ001

    assert jobs.enqueued == []


def test_a_periodic_job_can_be_made_to_fail(jobs, actor):
    """The kit declares it again to fail it, which must not fail because of its own schedule."""
    report = actor(actor_name="report", queue_name="low", periodic=daily("09:00"), max_retries=0)(
        lambda: None
    )
    jobs.fail_next(report, TimeoutError("no answer"))
    report.send()

    with pytest.raises(TimeoutError, match="no answer"):
        jobs.drain()
