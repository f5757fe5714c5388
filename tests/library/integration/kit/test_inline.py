"""Jobs that run where they are sent, once their transaction has committed."""

from datetime import UTC, datetime, timedelta

import pytest

import workshed
from workshed import broker, db, schedule
from workshed.testing.errors import KitError

pytestmark = pytest.mark.jobs(mode="inline")


def test_a_job_has_run_when_its_send_returns(jobs, greet):
    greet.send(7)

    assert greet.greeted == [(7, "hello")]
    assert jobs.enqueued == []
    assert [run.outcome.kind for run in jobs.runs] == ["succeeded"]


def test_a_job_of_a_transaction_runs_when_that_has_committed(jobs, greet):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        greet.send(8)
        assert greet.greeted == []

    assert sorted(greet.greeted) == [(7, "hello"), (8, "hello")]


def test_a_job_of_a_transaction_that_is_rolled_back_never_runs(jobs, greet):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(7))
        conn.rollback()
    greet.send(8)

    assert greet.greeted == [(8, "hello")]


def test_a_batch_of_messages_runs_when_all_are_sent(jobs, greet):
    broker.enqueue_many([greet.message(n) for n in range(3)])

    assert [user for user, _ in greet.greeted] == [0, 1, 2]


def test_jobs_that_a_job_sends_run_when_it_has_ended(jobs, actor, greet):
    seen = []

    @actor(actor_name="fan_out")
    def fan_out():
        greet.send(7)
        seen.extend(greet.greeted)

    fan_out.send()

    assert seen == []
    assert greet.greeted == [(7, "hello")]


def test_jobs_that_a_performed_job_sends_have_run_too(jobs, actor, greet):
    fan_out = actor(actor_name="fan_out")(lambda: greet.send(7).args[0])

    assert jobs.perform(fan_out) == 7

    assert greet.greeted == [(7, "hello")]


def test_an_error_is_raised_where_the_job_was_sent(jobs, greet):
    jobs.fail_next(greet, TimeoutError("no answer"))

    with pytest.raises(TimeoutError, match="no answer"):
        greet.send(7)

    jobs.assert_enqueued(greet, 7)


def test_an_error_that_is_retried_may_be_expected(jobs, greet):
    jobs.fail_next(greet, TimeoutError("no answer"))

    with jobs.expect_retry():
        greet.send(7)


def test_a_delayed_job_waits_until_it_is_drained(jobs, greet):
    greet.send_with_options(args=(7,), delay=timedelta(days=3))
    jobs.advance(days=3)
    assert greet.greeted == []

    assert jobs.drain() == 1


def test_a_typed_actor_sends_through_the_kit_whatever_its_options(jobs, actor):
    """`actor` makes the broker forget it again."""
    seen = []
    note = workshed.actor(name="note")(seen.append)

    note.set(tags=["a"]).send(1)
    note.set(at=datetime(2020, 1, 1, tzinfo=UTC)).send(2)
    with db.transaction() as conn:
        note.set(conn=conn).send(3)
    note.set(delay=timedelta(days=1)).send(4)
    note.set(at=datetime(2040, 1, 1, tzinfo=UTC)).send(5)

    assert seen == [1, 2, 3]
    jobs.assert_enqueued(note, 4, in_=timedelta(days=1))
    jobs.assert_enqueued(note, 5)


def test_inline_jobs_can_be_checked_for_idempotency(jobs, actor, greet):
    send = actor(actor_name="send")(lambda n: greet.send(n) and None)

    assert jobs.assert_idempotent(send, 7).failpoints


@pytest.mark.jobs(mode="fake")
def test_the_nearest_marker_holds(jobs, greet):
    greet.send(7)

    assert greet.greeted == []


def test_an_unknown_mode_is_refused(jobs_kit):
    with pytest.raises(KitError, match="mode='eager' of the marker `jobs` is not one of fake, inl"):
        jobs_kit.test(lambda: None, "eager").__enter__()
