"""What a worker promises: an outcome is stored before the ack, and copies are dropped."""

import threading
from datetime import timedelta

import pytest

from workshed.duration import ms
from workshed.jobs import Discard, RecordMissing, Snooze
from workshed.jobs.idempotency import completed_generations
from workshed.middleware import Deduplication, RetryOn
from workshed.transport.consuming import consumer_tag

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SOON = timedelta(milliseconds=1)


@pytest.fixture
def runs(actor):
    """An actor that records each of its runs and then calls `runs.then`."""

    class Runs(list):
        then = staticmethod(lambda number: None)

        def send(self, *args):
            return note.send(*args)

    found = Runs()

    @actor(queue_name="default", retry_on=RetryOn(OSError, attempts=3, wait=SOON))
    def note(number):
        found.append(number)
        found.then(number)

    found.actor = note
    return found


def fail(error):
    def then(number):
        raise error

    return then


def test_a_job_runs_and_is_acked(runs, working, count_jobs, rows, eventually):
    with working("default"):
        runs.send(1)
        eventually(lambda: runs == [1])

    eventually(lambda: count_jobs("default") == (0, 0))
    assert (
        rows("SELECT 1 FROM workshed.completed_generations") == []
    )  # a plain job costs PostgreSQL nothing


def test_a_failure_is_a_row_before_the_ack(actor, working, count_jobs, rows, eventually):
    @actor(queue_name="default", retry_on=RetryOn(OSError, attempts=3, wait=timedelta(hours=1)))
    def note(number):
        raise OSError("no")

    with working("default"):
        message = note.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE reason = 'retry'"))

    options = {"attempt": 2, "generation": 1, "failures": {"OSError": 1}}
    kept = rows(
        "SELECT message_id, generation, reason, body::json->'options' FROM workshed.schedule"
    )
    assert kept == [(message.message_id, 1, "retry", options)]
    assert rows("SELECT outcome, error_class FROM workshed.attempts") == [("retry", "OSError")]
    eventually(lambda: count_jobs("default")[0] == 0)


def test_the_last_failure_is_buried_with_all_its_attempts(runs, working, rows, publish, eventually):
    runs.then = fail(OSError("no"))

    with working("default"):
        publish(runs.actor.message_with_options(args=(1,), attempt=3, generation=2))
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT actor, attempt, reason, error_class FROM workshed.dead") == [
        ("note", 3, "failed 3 times: OSError: no", "OSError")
    ]
    assert "in note" in rows("SELECT traceback FROM workshed.attempts")[0][0]
    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_a_snooze_costs_no_attempt(runs, working, rows, eventually):
    runs.then = fail(Snooze(timedelta(hours=1)))

    with working("default"):
        runs.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE generation > 0"))

    assert rows("SELECT body::json->'options'->>'attempt', reason FROM workshed.schedule") == [
        ("1", "snoozed")
    ]
    assert rows("SELECT 1 FROM workshed.attempts") == []


def test_a_discard_is_recorded(runs, working, rows, eventually):
    runs.then = fail(Discard("paid already"))

    with working("default"):
        runs.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))

    assert rows("SELECT outcome, reason FROM workshed.attempts") == [("discarded", "paid already")]


def test_a_record_not_visible_yet_is_looked_for_again(runs, working, rows, eventually):
    runs.then = fail(RecordMissing("user", 1))

    with working("default"):
        runs.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule WHERE generation > 0"))

    assert rows("SELECT reason FROM workshed.schedule") == [("snoozed",)]
    assert rows("SELECT 1 FROM workshed.attempts") == []


@pytest.mark.rabbitmq("a row cannot be stored twice")
def test_a_copy_of_a_completed_job_is_dropped(runs, working, rows, publish, eventually):
    """A relay killed between confirm and delete sends twice; without deduplication, both run."""
    message = runs.actor.message(1)

    with working("default", threads=1):
        publish(message, outbox=True)
        publish(message, outbox=True)
        runs.send(2)
        eventually(lambda: 2 in runs)

    assert runs == [1, 2]
    assert rows("SELECT message_id, generation FROM workshed.completed_generations") == [
        (message.message_id, 0)
    ]


def test_of_two_copies_that_run_at_once_one_outcome_takes_effect(
    runs, working, rows, connect, publish, count_jobs, eventually
):
    """Without the check at the end, the copy that fails starts a retry of a finished job."""
    message = runs.actor.message(1)

    def the_other_process_ends_first(number):
        with connect() as conn:
            completed_generations.complete_generation(conn, message.message_id, 0)
        raise OSError("no")

    runs.then = the_other_process_ends_first

    with working("default"):
        publish(message, outbox=True)
        eventually(lambda: runs == [1] and count_jobs("default")[0] == 0)
        eventually(lambda: count_jobs("default")[1] == 0)

    assert rows("SELECT generation FROM workshed.completed_generations") == [(0,)]
    assert rows("SELECT 1 FROM workshed.schedule") == rows("SELECT 1 FROM workshed.attempts") == []


@pytest.mark.rabbitmq("a row needs no record of its end")
def test_a_retry_overtakes_its_settled_predecessor(runs, working, rows, publish, eventually):
    """Deduplication is by generation: a later one is not a copy of an earlier one."""
    with working("default", threads=1):
        publish(runs.actor.message(1), outbox=True)
        settled = eventually(lambda: rows("SELECT message_id FROM workshed.completed_generations"))[
            0
        ][0]
        later = runs.actor.message_with_options(args=(2,), generation=1).copy()
        publish(later.copy(message_id=settled), outbox=True)
        eventually(lambda: runs == [1, 2])

    assert rows("SELECT generation FROM workshed.completed_generations") == [(1,)]


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"{}",
        (
            b'{"queue_name":"emails","actor_name":"note","args":[],"kwargs":{},"options":{},'
            b'"message_id":"m","message_timestamp":1}'
        ),
        (
            b'{"queue_name":"default","actor_name":"note","args":[1],"kwargs":{},"options":{},'
            b'"message_id":"\\u0000","message_timestamp":1}'
        ),
    ],
)
def test_what_cannot_be_read_is_buried_and_blocks_nothing(
    body, runs, working, rows, publish, eventually
):
    """Stock dramatiq restarts its consumer for ever, or loses a thread per message."""
    with working("default"):
        publish(runs.actor.message(0), body=body, queue="default")
        runs.send(1)
        eventually(lambda: runs == [1])
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT body, actor, error_class FROM workshed.dead") == [
        (body, None, "EnvelopeError")
    ]


@pytest.mark.rabbitmq("the body of a row is text")
def test_what_is_not_even_text_is_buried_and_blocks_nothing(
    runs, working, rows, publish, eventually
):
    with working("default"):
        publish(runs.actor.message(0), body=b"\x00\xff", queue="default")
        runs.send(1)
        eventually(lambda: runs == [1])
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert rows("SELECT body, actor, error_class FROM workshed.dead") == [
        (b"\x00\xff", None, "EnvelopeError")
    ]


def test_an_outcome_waits_for_postgresql(
    actor, working, rows, failing, count_jobs, count_rejected, eventually, caplog
):
    """Stock dramatiq swallows the failure of a retry and acks: the job is lost."""
    runs = []

    @actor(queue_name="default", min_backoff=3_600_000)
    def note(number):
        runs.append(number)
        raise OSError("no")

    with working("default"):
        with failing("workshed.schedule", condition="NEW.reason = 'retry'"):
            note.send(1)
            eventually(lambda: "fails on purpose" in caplog.text)
            assert rows("SELECT 1 FROM workshed.schedule WHERE reason = 'retry'") == []
        eventually(lambda: rows("SELECT reason FROM workshed.schedule") == [("retry",)])
        eventually(lambda: count_jobs("default")[1] == 0)

    assert runs == [1]
    assert count_rejected("default") == 0


def test_a_worker_that_stops_returns_jobs_whose_outcome_cannot_be_stored(
    runs, working, servers, transport, count_jobs, connect, eventually
):
    """Neither acked nor lost: the job is in its queue again when the worker stops.

    Without RabbitMQ it still has its row, which the next worker takes.
    """
    started, go_on = threading.Event(), threading.Event()

    def fail_later(number):
        started.set()
        go_on.wait(60)
        raise OSError("no")

    runs.then = fail_later
    try:
        with working("default"):
            runs.send(1)
            assert started.wait(60)
            servers.postgres.stop()
            go_on.set()
    finally:
        servers.postgres.start()

    if transport == "postgresql":
        query = "SELECT claimed_by IS NOT NULL FROM workshed.schedule"
        assert connect().execute(query).fetchall() == [(True,)]
    else:
        eventually(lambda: count_jobs("default")[0] == 1)


@pytest.mark.fresh_database
def test_a_permanent_database_error_sends_the_job_to_the_dead_queue(
    runs, working, rows, connect, rabbitmq, eventually
):
    connect(autocommit=True).execute("ALTER TABLE workshed.schedule RENAME TO elsewhere")
    runs.then = fail(OSError("no"))

    with working("default"):
        runs.send(1)
        eventually(lambda: rabbitmq.queues().get("default.dead", {}).get("messages_ready") == 1)

    assert rows("SELECT 1 FROM workshed.attempts") == []


@pytest.mark.fresh_vhost
def test_an_ack_of_a_lost_channel_touches_no_other_job(runs, working, broker, rabbitmq, eventually):
    """Delivery tags start at 1 on each channel: stock dramatiq's late ack removed another job."""
    on = {1: threading.Event(), 2: threading.Event()}
    runs.then = lambda number: number in on and on[number].wait(60)

    def delivered(number, times):
        waiting = broker._execution.running_jobs._jobs.values()
        return any(d[0].args == (number,) and len(d) == times for d in list(waiting))

    with working("default", threads=3):
        runs.send(0)
        eventually(lambda: rabbitmq.acked("default") == 1)
        runs.send(1)  # the second delivery of its channel
        eventually(lambda: delivered(1, 1))
        eventually(lambda: rabbitmq.close_connections("consumer"))
        eventually(lambda: delivered(1, 2))
        runs.send(2)  # the second delivery of the next channel
        eventually(lambda: delivered(2, 1))
        eventually(lambda: rabbitmq.unacked("default") == 2)

        on[1].set()
        eventually(lambda: not (delivered(1, 1) or delivered(1, 2)))
        eventually(lambda: rabbitmq.unacked("default") == 1)
        eventually(lambda: rabbitmq.close_connections("consumer"))
        eventually(lambda: delivered(2, 2))  # because it was not acked

        on[2].set()
        eventually(lambda: rabbitmq.unacked("default") + rabbitmq.depth("default") == 0)

    assert runs == [0, 1, 2]


def test_a_deleted_queue_is_made_and_consumed_again(runs, working, rabbitmq, eventually):
    """Otherwise its consumer would wait for it for ever, and jobs for it would be unroutable."""
    with working("default"):
        runs.send(1)
        eventually(lambda: runs == [1])
        rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/default")
        eventually(lambda: "default" in rabbitmq.queues())
        runs.send(2)
        eventually(lambda: runs == [1, 2])


def test_a_hook_that_raises_is_not_a_failed_job(
    runs, working, broker, rows, count_jobs, eventually, monkeypatch
):
    """Stock dramatiq reports the success as a failure, acks it, and loses the thread."""

    def after_process_message(self, broker, message, *, result=None, exception=None):
        raise RuntimeError("a broken observer")

    monkeypatch.setattr(
        Deduplication, "after_process_message", after_process_message, raising=False
    )
    broker._hooks.clear()

    with working("default", threads=1):
        runs.send(1)
        runs.send(2)
        eventually(lambda: runs == [1, 2])

    assert rows("SELECT 1 FROM workshed.attempts") == []
    eventually(lambda: count_jobs("default")[0] == 0)


@pytest.mark.fresh_vhost
def test_a_process_has_one_connection_to_consume_and_one_to_publish(
    runs, actor, working, rabbitmq, eventually
):
    """Stock dramatiq has four for every queue."""
    actor(queue_name="low", actor_name="other")(lambda: None)

    with working("default", "low"):
        runs.send(1)

        consumers = eventually(lambda: len(found := rabbitmq.consumers()) == 2 and found)
        assert len({one["channel_details"]["connection_name"] for one in consumers}) == 1
        eventually(lambda: len(rabbitmq.connections()) == 2)
        names = sorted(name.partition(" of ")[0] for name, _ in rabbitmq.connections())
        assert names == ["consumer", "publisher"]


def test_a_job_beyond_its_limit_is_interrupted_and_retried(
    actor, working, count_jobs, rows, eventually
):
    @actor(queue_name="default", time_limit=ms(seconds=0.1))
    def spin():
        while True:
            pass

    with working("default", threads=1):
        spin.send()
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))

    kept = rows("SELECT outcome, error_class FROM workshed.attempts")
    assert kept == [("retry", "TimeLimitExceeded")]
    eventually(lambda: count_jobs("default")[0] == 0)


def test_a_message_may_have_a_limit_of_its_own(actor, working, rows, eventually):
    @actor(queue_name="default", time_limit=60_000)
    def spin():
        while True:
            pass

    with working("default", threads=1):
        spin.send_with_options(time_limit=100)
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))


@pytest.mark.fresh_vhost
def test_the_tag_of_a_consumer_identifies_the_actors_on_its_queue(
    broker, actor, working, rabbitmq, eventually
):
    """It includes actors whose retries go there, because the doctor compares workers by it."""
    broker.actors.clear()
    crawl = actor(actor_name="crawl", queue_name="default", retry_on=RetryOn(OSError, queue="low"))
    crawl(lambda: None)
    actor(actor_name="clean", queue_name="low")(lambda: None)

    with working("default", "low"):
        eventually(lambda: len(rabbitmq.consumers()) == 2)
        tags = {one["queue"]["name"]: one["consumer_tag"] for one in rabbitmq.consumers()}

    assert {queue: consumer_tag.parse_tag(tag).digest for queue, tag in tags.items()} == {
        "default": digest("crawl"),
        "low": digest("clean", "crawl"),
    }


def digest(*names):
    return consumer_tag.parse_tag(consumer_tag.make_tag([(name, None) for name in names])).digest
