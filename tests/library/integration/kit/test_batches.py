"""Batches in a test: their rows are those of production, and callbacks are waiting jobs."""

import uuid

import pytest

from workshed import Batch, db
from workshed.jobs import Discard
from workshed.jobs.batches import progress as batch_rows
from workshed.jobs.control import cancellations
from workshed.jobs.dead import dead_jobs
from workshed.middleware import Unique
from workshed.transport.batch import BatchError


@pytest.fixture
def work(actor):
    """An actor that records its runs in `.done`; the number "gone" is discarded."""
    done = []

    @actor(actor_name="work", max_retries=0)
    def work(number):
        if number == "gone":
            raise Discard("nothing to do")
        done.append(number)

    work.done = done
    return work


@pytest.fixture
def tell(actor):
    """`tell("success")`: a callback; its calls are in `.calls`."""
    calls = []
    declared = actor(actor_name="tell")(calls.append)
    declared.calls = calls
    return declared


@pytest.fixture
def started(work, tell):
    """`started(1, 2)`: a committed batch of these numbers, with a callback for each event."""

    def start(*numbers, **options):
        batch = Batch(
            on_success=tell.message("success"),
            on_complete=tell.message("complete"),
            on_death=tell.message("death"),
            **options,
        )
        with db.transaction() as conn, batch.adding(conn):
            batch.add(conn, *map(work.message, numbers))
        return batch

    return start


def progress(batch):
    with db.transaction() as conn:
        return batch.progress(conn)


def test_the_end_of_all_sends_each_callback_once(jobs, started, work, tell):
    batch = started(1, 2, 3, description="three numbers")

    assert (progress(batch).state, progress(batch).pending) == ("running", 3)
    jobs.drain()

    assert work.done == [1, 2, 3]
    assert sorted(tell.calls) == ["complete", "success"]
    found = progress(batch)
    assert (found.state, found.total, found.succeeded) == ("succeeded", 3, 3)
    assert found.description == "three numbers"


def test_no_callback_is_sent_before_the_last_job_has_ended(jobs, started, tell):
    batch = started(1, 2)

    jobs.run_next()

    assert tell.calls == []
    assert (jobs.progress(batch).pending, jobs.progress(batch).succeeded) == (1, 1)


def test_an_empty_batch_has_succeeded_when_it_is_closed(jobs, started, tell):
    batch = started()

    jobs.drain()

    assert sorted(tell.calls) == ["complete", "success"]
    assert progress(batch).state == "succeeded"


def test_a_batch_that_is_rolled_back_does_not_exist(jobs, work, tell):
    batch = Batch(on_complete=tell)

    with db.transaction() as conn:
        with batch.adding(conn):
            batch.add(conn, work.message(1))
        conn.rollback()

    assert jobs.drain() == 0
    with pytest.raises(BatchError):
        progress(batch)


def test_a_batch_is_not_closed_where_adding_failed(jobs, work, tell):
    batch = Batch(on_complete=tell)

    with db.transaction() as conn, pytest.raises(RuntimeError), batch.adding(conn):
        raise RuntimeError
    with db.transaction() as conn:
        assert progress(batch).state == "open"
        batch.add(conn, work.message(1))
    jobs.drain()

    assert (work.done, tell.calls) == ([1], [])
    with db.transaction() as conn:
        assert batch.close(conn)
        assert not batch.close(conn)
    jobs.drain()
    assert tell.calls == [batch.id]


def test_a_discarded_job_counts_as_success(jobs, started, tell):
    batch = started(1, "gone")

    jobs.drain()

    assert sorted(tell.calls) == ["complete", "success"]
    assert (progress(batch).discarded, progress(batch).succeeded) == (1, 1)


def test_the_first_death_sends_its_callback_at_once_and_no_other_does(jobs, started, work, tell):
    batch = started(1, 2, 3)
    jobs.fail_next(work, OSError("no"))
    jobs.fail_next(work, OSError("no"))

    with pytest.raises(OSError, match="no"):
        jobs.drain()

    assert sorted(tell.calls) == ["complete", "death"]
    found = progress(batch)
    assert (found.state, found.dead, found.succeeded) == ("failed", 2, 1)


def test_success_is_sent_when_the_dead_jobs_have_been_retried(jobs, started, work, tell):
    batch = started(1, 2)
    jobs.fail_next(work, OSError("no"))
    with pytest.raises(OSError, match="no"):
        jobs.drain()
    tell.calls.clear()

    with db.transaction() as conn:
        [message_id] = batch_rows.list_dead_ids(conn, batch.id)
        assert dead_jobs.retry_job(conn, message_id)
    assert progress(batch).state == "running"
    jobs.drain()

    assert tell.calls == ["success"]
    assert (progress(batch).state, progress(batch).dead) == ("succeeded", 0)


def test_a_batch_whose_dead_job_is_discarded_does_not_succeed(jobs, started, work, tell):
    batch = started(1)
    jobs.fail_next(work, OSError("no"))
    with pytest.raises(OSError, match="no"):
        jobs.drain()

    with db.transaction() as conn:
        [message_id] = batch_rows.list_dead_ids(conn, batch.id)
        assert dead_jobs.discard_job(conn, message_id, "not needed")

    found = progress(batch)
    assert (found.state, found.dead, found.cancelled) == ("failed", 0, 1)
    assert "success" not in tell.calls


def test_a_retried_job_is_pending_until_it_ends(jobs, started, actor, tell):
    flaky = actor(actor_name="flaky")(lambda: None)
    batch = Batch(on_success=tell)
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, flaky.message())
    jobs.fail_next(flaky, OSError("no"))

    with jobs.expect_retry():
        jobs.drain()

    assert progress(batch).pending == 1
    jobs.advance(minutes=1)
    jobs.drain()
    assert tell.calls == [batch.id]


def test_an_actor_as_callback_gets_the_id(jobs, tell):
    batch = Batch(on_complete=tell)

    with db.transaction() as conn, batch.adding(conn):
        pass
    jobs.drain()

    assert tell.calls == [batch.id]


# From within


@pytest.mark.parametrize("once", [False, True])
def test_a_job_adds_to_its_batch(jobs, actor, work, tell, once):
    @actor(actor_name="plan", once=once)
    def plan(count):
        with db.transaction() as conn:
            Batch.current().add(conn, *map(work.message, range(count)))

    batch = Batch(on_success=tell)
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, plan.message(3))

    jobs.run_next()
    assert (progress(batch).pending, tell.calls) == (3, [])
    jobs.drain()

    assert (work.done, tell.calls) == ([0, 1, 2], [batch.id])
    assert progress(batch).total == 4


def test_nothing_else_adds_to_a_closed_batch(jobs, started, work):
    batch = started(1)

    with db.transaction() as conn, pytest.raises(BatchError, match="closed"):
        batch.add(conn, work.message(2))

    assert jobs.drain() == 3
    assert work.done == [1]


def test_a_copy_that_comes_after_the_end_adds_nothing(jobs, actor, work, tell):
    """Without the check whether the job is pending, a complete batch would get another job."""
    refused = []

    @actor(actor_name="plan")
    def plan():
        batch = Batch.current()
        with db.transaction() as conn:  # the other copy ends meanwhile
            conn.execute(
                "SELECT workshed.end_batch_job(message_id, 'succeeded') FROM workshed.batch_jobs"
            )
        with db.transaction() as conn, pytest.raises(BatchError):
            batch.add(conn, work.message(1))
        refused.append(batch.id)

    batch = Batch(on_complete=tell)
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, plan.message())
    jobs.drain()

    assert refused == [batch.id]
    assert (work.done, tell.calls) == ([], [batch.id])


def test_outside_a_job_there_is_no_current_batch(jobs):
    with pytest.raises(BatchError, match="no batch here"):
        Batch.current()


def test_a_callback_knows_its_batch_and_makes_the_next(jobs, actor, work, tell):
    @actor(actor_name="next_stage")
    def next_stage(number):
        last = Batch.current()
        with db.transaction() as conn:
            with pytest.raises(BatchError):
                last.add(conn, work.message(number))
            assert last.progress(conn).succeeded == 1
            batch = Batch(on_success=tell)
            with batch.adding(conn):
                batch.add(conn, work.message(number))

    first = Batch(on_success=next_stage.message(2))
    with db.transaction() as conn, first.adding(conn):
        first.add(conn, work.message(1))
    jobs.drain()

    assert work.done == [1, 2]
    assert len(tell.calls) == 1
    assert tell.calls != [first.id]


def test_a_job_of_one_batch_makes_another(jobs, actor, started, tell):
    made = []

    @actor(actor_name="nest")
    def nest():
        made.append(started(7))

    outer = Batch(on_success=tell)
    with db.transaction() as conn, outer.adding(conn):
        outer.add(conn, nest.message())
    jobs.drain()

    assert sorted(tell.calls) == sorted([outer.id, "complete", "success"])
    assert progress(made[0]).state == progress(outer).state == "succeeded"


# Unique jobs


def test_a_dropped_duplicate_does_not_join_the_batch(jobs, actor, tell):
    built = []
    build = actor(actor_name="build", unique=Unique())(built.append)
    batch = Batch(on_success=tell)
    other = build.send(7)

    with db.transaction() as conn, batch.adding(conn):
        same, _ = batch.add(conn, build.message(7), build.message(8))
    assert same.message_id == other.message_id
    assert progress(batch).total == 1
    jobs.drain()

    assert (built, tell.calls) == ([7, 8], [batch.id])


def test_a_job_that_is_replaced_from_outside_ends_in_its_batch(jobs, actor, tell):
    """Unless `replace_holder` ended the job, its batch would wait for it for ever."""
    build = actor(actor_name="build", unique=Unique(on_conflict="replace"))(lambda _: None)
    batch = Batch(on_complete=tell)
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, build.message(7))

    build.send(7)

    assert progress(batch).cancelled == 1
    jobs.drain()
    assert tell.calls == [batch.id]


def test_a_callback_whose_key_is_held_waits_for_it(jobs, actor):
    """Its send cannot be refused, because nothing would repeat it."""
    calls = []
    tell = actor(actor_name="tell", unique=Unique(key=[]))(calls.append)
    tell.send_with_options(args=("another",), delay=60_000)

    with db.transaction() as conn, Batch(on_complete=tell.message("of the batch")).adding(conn):
        pass

    jobs.drain()
    assert calls == []
    jobs.advance(minutes=1)
    jobs.drain()
    jobs.advance(seconds=6)
    jobs.drain()
    assert calls == ["another", "of the batch"]


# Cancel


def test_a_cancelled_batch_runs_nothing_and_sends_its_completion(jobs, started, work, tell):
    batch = started(1, 2)

    with db.transaction() as conn:
        assert batch.cancel(conn)
    assert progress(batch).state == "cancelling"
    jobs.drain()

    assert (work.done, tell.calls) == ([], ["complete"])
    found = progress(batch)
    assert (found.state, found.cancelled) == ("cancelled", 2)


def test_nothing_is_added_to_a_cancelled_batch(jobs, actor, work, tell):
    refused = []

    @actor(actor_name="plan")
    def plan():
        batch = Batch.current()
        with db.transaction() as conn:
            batch.cancel(conn)
        with db.transaction() as conn, pytest.raises(BatchError, match="cancelled"):
            batch.add(conn, work.message(1))
        refused.append(batch.id)

    batch = Batch(on_complete=tell)
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, plan.message())
    jobs.drain()

    assert refused == tell.calls == [batch.id]


def test_a_cancelled_job_ends_its_batch_without_success(jobs, work, tell):
    batch = Batch(on_success=tell.message("success"), on_complete=tell.message("complete"))
    with db.transaction() as conn, batch.adding(conn):
        [sent] = batch.add(conn, work.message(1))

    with db.transaction() as conn:
        assert cancellations.cancel(conn, sent.message_id) == "deleted"
    jobs.drain()

    assert (work.done, tell.calls) == ([], ["complete"])
    assert progress(batch).cancelled == 1


def test_a_batch_that_has_ended_is_not_cancelled(jobs, started):
    batch = started(1)
    jobs.drain()

    with db.transaction() as conn:
        assert not batch.cancel(conn)
        assert not Batch.with_id(str(uuid.uuid4())).cancel(conn)

    assert progress(batch).state == "succeeded"


def test_an_open_batch_that_is_cancelled_is_closed(jobs, work, tell):
    batch = Batch(on_complete=tell)
    with db.transaction() as conn:
        batch.open(conn)

    with db.transaction() as conn:
        assert batch.cancel(conn)
    jobs.drain()

    assert tell.calls == [batch.id]
