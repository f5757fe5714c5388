"""The retry policy of an actor, over all runs of a job."""

from datetime import timedelta

import orjson
import pytest
from dramatiq.middleware import Shutdown
from psycopg import sql

from workshed import Queue, db
from workshed.jobs import Snooze
from workshed.jobs.dead import dead_jobs
from workshed.middleware import RetryOn
from workshed.transport.errors import UndeclaredQueueError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SOON = timedelta(milliseconds=1)


@pytest.fixture
def failing_with(actor):
    """`failing_with([…], retry_on=…)`: an actor that raises these errors one after the other."""

    def declare(errors, **options):
        left = list(errors)

        @actor(**{"queue_name": "default", "actor_name": "failing", **options})
        def failing():
            failing.runs += 1
            if left:
                raise left.pop(0)

        failing.runs = 0
        return failing

    return declare


def options_of(rows, query="SELECT body FROM workshed.schedule"):
    ((body,),) = rows(query)
    return orjson.loads(body)["options"]


def test_each_group_of_errors_has_its_own_attempts(
    failing_with, working, relaying, rows, eventually
):
    """With one count for all, the first lost connection after two timeouts would be the last."""
    failing = failing_with(
        [TimeoutError(), TimeoutError(), EOFError(), KeyError(), EOFError()],
        retry_on=[
            RetryOn(TimeoutError, attempts=3, wait=SOON),
            RetryOn(EOFError, attempts=2, wait=SOON),
        ],
        min_backoff=1,
    )

    with working("default"), relaying():
        failing.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT attempt, reason FROM workshed.dead") == [
        (5, "failed 2 times in 5 runs: EOFError")
    ]
    failures = {"TimeoutError": 2, "EOFError": 1, "*": 1}
    assert options_of(rows, "SELECT body FROM workshed.dead")["failures"] == failures
    assert failing.runs == 5


def test_a_body_does_not_grow_by_its_errors(
    failing_with, working, relaying, rows, monkeypatch, eventually
):
    """dramatiq puts each traceback into the message, which RabbitMQ then carries."""
    long = "x" * 100_000
    failing = failing_with(
        [OSError(long) for _ in range(10)], retry_on=RetryOn(OSError, attempts=20, wait=SOON)
    )
    sizes, start = [], failing.broker._execution.start

    def measure(delivery, *args):
        sizes.append(len(delivery.job.message.encode()))
        return start(delivery, *args)

    monkeypatch.setattr(failing.broker._execution, "start", measure)

    with working("default"), relaying():
        failing.send()
        eventually(lambda: failing.runs == 11)

    assert len(rows("SELECT 1 FROM workshed.attempts")) == 10
    assert len(sizes) == 11
    digits = len(str(11)) + len(str(10)) + len(str(10))  # of attempt, generation and the count
    assert sizes[10] - sizes[1] <= digits
    assert sizes[10] - sizes[0] < 60


@pytest.fixture
def elsewhere(failing_with):
    """An actor that fails once, and whose retry goes to another queue."""
    rule = RetryOn(OSError, wait=SOON, queue="low", priority=4)
    return failing_with([OSError()], retry_on=rule)


def test_a_retry_goes_to_another_queue_with_another_priority(
    elsewhere, working, relaying, rabbitmq, eventually
):
    """The worker makes that queue; before any worker has booted RabbitMQ does not have it."""
    with working("default"), relaying():
        elsewhere.send()
        eventually(lambda: rabbitmq.depth("low"))

    (message,) = rabbitmq.peek("low")
    assert message["properties"]["priority"] == 4
    assert orjson.loads(message["payload"])["queue_name"] == "low"


def test_a_retry_on_another_queue_runs_there(
    elsewhere, working, relaying, count_jobs, rows, eventually
):
    with working("default", "low"), relaying():
        elsewhere.send()
        eventually(lambda: elsewhere.runs == 2)
        eventually(lambda: count_jobs("low") == (0, 0))

    assert rows("SELECT queue, outcome FROM workshed.attempts") == [("default", "retry")]


def test_a_queue_of_retries_is_consumed_by_a_worker_that_has_no_other_actor_on_it(
    failing_with, broker
):
    """No other worker would, because no actor names it as its own queue."""
    failing_with([], retry_on=RetryOn(OSError, queue="low"))

    assert "low" in broker.queues


def test_an_undeclared_queue_of_retries_is_refused_at_once(failing_with, broker):
    """Found only at the first failure, it would cost that job its retry."""
    with pytest.raises(UndeclaredQueueError, match="lwo"):
        failing_with([], retry_on=RetryOn(OSError, queue="lwo"))

    assert "failing" not in broker.actors


@pytest.mark.rabbitmq("the consumer timeout")
def test_a_time_limit_must_fit_the_queue_of_the_retries_too(failing_with, broker, working):
    """RabbitMQ would close the channel of all others in the middle of a retry."""
    broker.add_queue(Queue("short", consumer_timeout=timedelta(minutes=2)))
    failing_with([], time_limit=90_000, retry_on=RetryOn(OSError, queue="short"))

    with pytest.raises(SystemExit), working("default", "short"):
        """Not reached."""


@pytest.mark.parametrize("free", [Snooze(SOON), Shutdown()])
def test_a_run_that_costs_no_attempt_changes_no_count(
    free, failing_with, working, relaying, rows, eventually
):
    rule = RetryOn(OSError, attempts=2, wait=SOON)
    failing = failing_with([OSError(), free, free, OSError()], retry_on=rule)

    with working("default"), relaying():
        failing.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    options = options_of(rows, "SELECT body FROM workshed.dead")
    assert (options["attempt"], options["generation"], options["failures"]) == (
        2,
        3,
        {"OSError": 1},
    )
    assert failing.runs == 4


def test_retry_for_counts_from_the_first_failure_over_all_runs(
    failing_with, working, relaying, rows, eventually
):
    """If it began again with each run, it would never end."""
    rule = RetryOn(OSError, retry_for=timedelta(seconds=1), wait=timedelta(seconds=0.4))
    failing = failing_with([OSError() for _ in range(20)], retry_on=rule)

    with working("default"), relaying():
        failing.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert 1 < failing.runs <= 4
    ((first, died_ms),) = rows("""
        SELECT (convert_from(body, 'UTF8')::json #>> '{options,failing_since,OSError}')::bigint,
               extract(epoch FROM died_at) * 1000
          FROM workshed.dead
    """)
    assert 1_000 <= died_ms - first < 10_000


def test_a_dead_job_that_is_retried_has_all_its_attempts(failing_with, working, rows, eventually):
    """With the old counts it would be dead again at its first failure."""
    failing = failing_with([OSError(), OSError()], retry_on=RetryOn(OSError, attempts=1))

    with working("default"):
        failing.send()
        ((message_id,),) = eventually(lambda: rows("SELECT message_id FROM workshed.dead"))
    with db.transaction() as conn:
        conn.execute("""
            UPDATE workshed.dead
               SET body = convert_to(jsonb_set(convert_from(body, 'UTF8')::jsonb, '{options}',
                   '{"attempt": 2, "failures": {"OSError": 1}, "failing_since": {"OSError": 1}}'
                   )::text, 'UTF8')
        """)
        assert dead_jobs.retry_job(conn, message_id)

    assert options_of(rows).keys() == {"attempt", "generation", "redriven"}
    assert options_of(rows)["attempt"] == 1


def test_throws_may_be_a_list(failing_with, working, rows, eventually):
    """dramatiq's own worker calls `isinstance`, which fails on a list and ends the thread."""
    failing = failing_with([KeyError(), KeyError()], throws=[KeyError, EOFError])

    with working("default", threads=1):
        failing.send()
        failing.send()
        eventually(lambda: len(rows("SELECT 1 FROM workshed.dead")) == 2)


@pytest.mark.fresh_database
def test_a_job_that_waits_too_long_for_a_lock_is_retried(
    actor, working, relaying, rows, conn, connect, eventually
):
    """The page on roles sets this timeout, only longer; without it the job would wait for ever."""
    alter = "ALTER ROLE CURRENT_USER IN DATABASE {} SET lock_timeout = '300ms'"
    with connect(autocommit=True) as admin:
        admin.execute(sql.SQL(alter).format(sql.Identifier(admin.info.dbname)))
        admin.execute("INSERT INTO workshed.completed_generations VALUES ('a', 1)")

    @actor(queue_name="default", once=True, max_retries=50, min_backoff=1, max_backoff=1)
    def wait_for_a_lock():
        with db.transaction() as tx:
            tx.execute(
                "UPDATE workshed.completed_generations SET generation = generation + 1 "
                "WHERE message_id = 'a'"
            )

    conn.execute("SELECT FROM workshed.completed_generations WHERE message_id = 'a' FOR UPDATE")
    with working("default"), relaying():
        wait_for_a_lock.send()
        eventually(lambda: rows("SELECT FROM workshed.attempts"))
        conn.rollback()
        eventually(
            lambda: (
                rows("SELECT generation FROM workshed.completed_generations WHERE message_id = 'a'")
                == [(2,)]
            )
        )

    assert {error for (error,) in rows("SELECT error_class FROM workshed.attempts")} == {
        "LockNotAvailable"
    }
    assert rows("SELECT FROM workshed.dead") == []
