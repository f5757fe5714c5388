"""Long jobs in steps: each resumes where it stopped, and writes everything once."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from dramatiq.middleware import TimeLimitExceeded
from psycopg import OperationalError
from psycopg.errors import UniqueViolation

from workshed import db
from workshed.interrupts import thread_gate
from workshed.jobs import Cancelled, OpenTransactionError, Progress, StepError, context, step, steps

TEN = list(range(1, 11))


@pytest.fixture
def written(database):
    """`written()`: the numbers in the table."""
    with db.transaction() as conn:
        conn.execute("DROP TABLE IF EXISTS public.written")
        conn.execute("CREATE TABLE public.written (number integer)")

    def read():
        with db.transaction() as conn:
            return [number for (number,) in conn.execute("SELECT * FROM written ORDER BY 1")]

    return read


@pytest.fixture
def calls():
    """The calls of the steps."""
    return []


@pytest.fixture
def count(actor, calls, written):
    """Write 1 to 10, one by one, then call `say`; fail before each number in `.fails`."""
    fails = []

    def numbers(progress):
        calls.append(f"numbers from {progress.cursor}")
        while (number := (progress.cursor or 0) + 1) <= 10:
            if number in fails:
                fails.remove(number)
                raise OSError(f"no {number}")
            with progress.transaction() as conn:
                conn.execute("INSERT INTO written VALUES (%s)", (number,))
                progress.cursor = number

    def say(progress):
        calls.append("say")

    @actor(queue_name="default", actor_name="count", max_retries=1)
    def count():
        step("numbers", numbers)
        step("say", say)

    count.fails = fails
    return count


def rows():
    with db.transaction() as conn:
        return conn.execute(
            "SELECT name, cursor, done FROM workshed.steps ORDER BY name"
        ).fetchall()


def die(jobs, count):
    """Let the job fail at 4, and again at 4."""
    count.fails.extend([4, 4])
    count.send()
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)
    with pytest.raises(OSError, match="no 4"):
        jobs.drain()


def test_each_step_is_done_once(jobs, count, calls, written):
    count.send()
    jobs.drain()

    assert calls == ["numbers from None", "say"]
    assert written() == TEN
    assert rows() == [("numbers", 10, True), ("say", None, True)]


def test_the_next_run_goes_on_where_the_last_one_stopped(jobs, count, calls, written):
    count.fails.append(4)
    count.send()
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)
    jobs.drain()

    assert calls == ["numbers from None", "numbers from 3", "say"]
    assert written() == TEN


def test_a_failure_after_progress_counts_as_the_first(jobs, count, written):
    """The job has one retry and fails three times, each time further on."""
    count.fails.extend([4, 6, 8])
    count.send()
    for _ in range(3):
        with jobs.expect_retry():
            jobs.drain()
        jobs.advance(minutes=1)
    jobs.drain()

    assert jobs.dead == []
    assert written() == TEN


def test_a_failure_without_progress_counts_as_another(jobs, count, written):
    die(jobs, count)

    assert [dead.attempt for dead in jobs.dead] == [2]
    assert written() == [1, 2, 3]


def test_a_block_that_fails_saves_nothing(jobs, actor, written):
    @actor(queue_name="default", actor_name="bad", max_retries=0)
    def bad():
        step("numbers", numbers)

    def numbers(progress):
        with progress.transaction() as conn:
            conn.execute("INSERT INTO written VALUES (1)")
            progress.cursor = 1
            raise OSError("no")

    with pytest.raises(OSError, match="no"):
        jobs.perform(bad)
    assert written() == []
    assert rows() == [("numbers", None, False)]


def test_an_empty_block_is_no_progress(jobs, actor, written):
    """It fails each time after an empty block, which counts as another failure."""

    @actor(queue_name="default", actor_name="stuck", max_retries=1)
    def stuck():
        step("numbers", numbers)

    def numbers(progress):
        with progress.transaction():
            pass
        raise OSError("no")

    stuck.send()
    with jobs.expect_retry():
        jobs.drain()
    jobs.advance(minutes=1)
    with pytest.raises(OSError, match="no"):
        jobs.drain()
    assert len(jobs.dead) == 1


def test_a_cursor_that_was_rolled_back_can_be_saved_again(database, connect, written):
    context.enter_job(Running())
    conn = connect(autocommit=True)

    def numbers(progress):
        for failing in (True, False):
            with contextlib.suppress(OSError), conn.transaction():
                progress.save(conn, 1)
                conn.execute("INSERT INTO written VALUES (1)")
                if failing:
                    raise OSError("no")
        with contextlib.suppress(OSError), progress.transaction():
            progress.cursor = 2
            raise OSError("no")
        assert progress.cursor == 1

    step("numbers", numbers)
    assert written() == [1]


@pytest.mark.parametrize("error", [OperationalError, TimeLimitExceeded])
def test_a_block_whose_commit_was_not_confirmed_is_not_written_again(database, written, error):
    """The answer was lost, or an interrupt came in the commit, and the step tries again."""
    context.enter_job(Running())

    def numbers(progress):
        for _ in range(2):
            with contextlib.suppress(error), progress.transaction() as conn:
                conn.execute("INSERT INTO written VALUES (%s)", ((progress.cursor or 0) + 1,))
                progress.cursor = (progress.cursor or 0) + 1
                thread_gate()._pending = error  # as `strike` does in a commit

    with pytest.raises(steps.Snooze, match="step 'numbers' may have committed without an"):
        step("numbers", numbers)
    assert written() == [1]
    assert rows() == [("numbers", 1, False)]


def test_a_block_whose_commit_failed_can_be_written_again(database, written):
    context.enter_job(Running())
    with db.transaction() as conn:
        conn.execute("ALTER TABLE written ADD UNIQUE (number) DEFERRABLE INITIALLY DEFERRED")

    def numbers(progress):
        for twice in (True, False):
            with contextlib.suppress(UniqueViolation), progress.transaction() as conn:
                values = [(1,), (1,)] if twice else [(1,)]
                conn.cursor().executemany("INSERT INTO written VALUES (%s)", values)
                progress.cursor = 1

    step("numbers", numbers)
    assert written() == [1]


def test_a_copy_that_comes_later_skips_finished_steps(jobs, count, calls, written):
    message = count.send()
    jobs.drain()
    with db.transaction() as conn:
        conn.execute(
            "DELETE FROM workshed.completed_generations WHERE message_id = %s",
            (message.message_id,),
        )
    context.enter_job(Running(message.message_id))

    count.fn()

    assert calls == ["numbers from None", "say"]
    assert written() == TEN


class Running:
    """The attributes of a job that its steps read."""

    cancelled = False
    made_progress = False
    is_stopping = False
    scheduled_for = sent_at = None
    actor = "count"

    def __init__(self, message_id="m"):
        self.message_id = message_id


@pytest.fixture(autouse=True)
def _no_job():
    yield
    context.leave_job()


def test_of_copies_that_run_at_once_one_goes_on(written, database):
    """Each number is written once with its cursor; the copy that comes second snoozes."""
    start = Barrier(2)

    def numbers(progress):
        start.wait()
        while (number := (progress.cursor or 0) + 1) <= 10:
            with progress.transaction() as conn:
                conn.execute("INSERT INTO written VALUES (%s)", (number,))
                progress.cursor = number

    def run(_):
        context.enter_job(Running())
        try:
            step("numbers", numbers)
        except steps.Snooze as later:
            return str(later)
        finally:
            context.leave_job()
        return "done"

    with ThreadPoolExecutor(2) as threads:
        ends = sorted(threads.map(run, range(2)))

    assert written() == TEN or written() == list(range(1, len(written()) + 1))
    assert len(written()) == len(set(written()))
    assert any("another run of this job has started step 'numbers'" in end for end in ends)


def test_a_cancelled_job_stops_between_two_blocks(jobs, written, database):
    job = Running()
    context.enter_job(job)

    def numbers(progress):
        for number in (1, 2, 3):
            with progress.transaction() as conn:
                conn.execute("INSERT INTO written VALUES (%s)", (number,))
                progress.cursor = number
            job.cancelled = number == 2

    with pytest.raises(Cancelled):
        step("numbers", numbers)
    assert written() == [1, 2]


def test_a_job_stops_between_two_blocks_when_its_worker_stops(written, database):
    job = Running()
    context.enter_job(job)

    def numbers(progress):
        for number in range((progress.cursor or 0) + 1, 4):
            with progress.transaction() as conn:
                conn.execute("INSERT INTO written VALUES (%s)", (number,))
                progress.cursor = number
            job.is_stopping = number == 2

    with pytest.raises(steps.Snooze, match="its worker is stopping; it resumes in step 'numbers'"):
        step("numbers", numbers)
    assert written() == [1, 2]
    context.enter_job(Running())
    step("numbers", numbers)
    assert written() == [1, 2, 3]


# Refused uses


def test_a_step_in_an_open_transaction_is_refused(jobs, actor):
    @actor(queue_name="default", actor_name="open", max_retries=0)
    def open_one():
        with db.transaction():
            step("numbers", print)

    with pytest.raises(OpenTransactionError, match="is begun in an open transaction"):
        jobs.perform(open_one)


def test_a_step_of_an_actor_that_runs_once_is_refused(jobs, actor):
    """A failure rolls its transaction back, and all cursors with it."""

    @actor(queue_name="default", actor_name="once", max_retries=0, once=True)
    def once_one():
        step("numbers", print)

    with pytest.raises(OpenTransactionError, match="once=True"):
        jobs.perform(once_one)


def test_an_async_function_is_refused_because_it_would_not_run(database):
    """Its step was recorded as done, and the next run skipped it."""
    context.enter_job(Running())

    async def numbers(progress):
        raise AssertionError

    with pytest.raises(StepError, match="step 'numbers': its function is async"):
        step("numbers", numbers)
    assert rows() == [("numbers", None, False)]


def test_a_cursor_is_not_saved_while_another_transaction_is_open(database):
    context.enter_job(Running())

    def numbers(progress):
        with db.transaction(), progress.transaction():
            pass

    with pytest.raises(OpenTransactionError, match="transaction"):
        step("numbers", numbers)
    assert rows() == [("numbers", None, False)]


def test_a_cursor_is_saved_in_the_transaction_of_the_caller(connect, database, written):
    context.enter_job(Running())
    conn = connect(autocommit=True)

    def numbers(progress):
        with conn.transaction():
            conn.execute("INSERT INTO written VALUES (1)")
            progress.save(conn, {"after": [1, "x"]})
        with pytest.raises(OpenTransactionError, match="has none open"):
            progress.save(conn, 2)

    step("numbers", numbers)
    assert rows() == [("numbers", {"after": [1, "x"]}, True)]


@pytest.mark.parametrize(
    ("cursor", "reason"),
    [
        ({1, 2}, "does not survive JSON"),
        ((1, 2), "does not survive JSON"),
        (float("nan"), "does not survive JSON"),
        ("N\0L", "has a NUL"),
        (2**70, "does not survive JSON"),
        ({1: 2}, "is not a string"),
        ("x" * 9000, "9002 bytes"),
    ],
)
def test_a_cursor_that_json_would_change_is_refused(database, cursor, reason):
    context.enter_job(Running())

    def numbers(progress):
        with progress.transaction():
            progress.cursor = cursor

    with pytest.raises(StepError, match=reason):
        step("numbers", numbers)
    assert rows() == [("numbers", None, False)]


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb"])
def test_an_invalid_name_is_refused(database, name):
    with pytest.raises(StepError, match="printable"):
        step(name, print)


def test_a_name_that_is_used_twice_is_refused(jobs, actor):
    @actor(queue_name="default", actor_name="twice", max_retries=0)
    def twice():
        step("numbers", lambda _: None)
        step("numbers", lambda _: None)

    with pytest.raises(StepError, match="comes twice"):
        jobs.perform(twice)


def test_outside_a_job_a_step_runs_and_saves_nothing(database, written):
    def numbers(progress, last, *, first):
        assert isinstance(progress, Progress)
        with progress.transaction() as conn:
            conn.execute("INSERT INTO written VALUES (%s), (%s)", (first, last))
            progress.cursor = last

    step("numbers", numbers, 2, first=1)

    assert written() == [1, 2]
    assert rows() == []


def test_steps_are_deleted_when_no_copy_can_come(jobs, count):
    count.send()
    jobs.drain()
    with db.transaction() as conn:
        assert steps.prune_steps(conn, jobs_kept(), 100) == 0
    jobs.advance(days=31)

    with db.transaction() as conn:
        assert steps.prune_steps(conn, jobs_kept(), 100) == 2


def test_steps_are_kept_for_a_job_that_comes_back_after_long(jobs, count):
    """While a retried dead job is on its way through RabbitMQ, no row shows that it lives."""
    die(jobs, count)
    jobs.advance(days=16)

    with db.transaction() as conn:
        assert steps.prune_steps(conn, jobs_kept(), 100) == 0
        conn.execute("DELETE FROM workshed.dead")
    jobs.advance(days=16)

    with db.transaction() as conn:
        assert steps.prune_steps(conn, jobs_kept(), 100) == 0


def test_a_finished_step_is_kept_while_its_job_goes_on(jobs, count, calls):
    """It is kept as long as a run skips it now and then, whatever the age of its cursor."""
    for _ in range(3):
        context.enter_job(Running())
        count.fn()
        jobs.advance(days=20)
        with db.transaction() as conn:
            assert steps.prune_steps(conn, jobs_kept(), 100) == 0
    assert calls == ["numbers from None", "say"]


def jobs_kept():
    from workshed.settings import settings  # noqa: PLC0415

    return settings().deduplication_retention
