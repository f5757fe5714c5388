"""Jobs that are cancelled while they run, and those that only RabbitMQ holds."""

import threading
from datetime import timedelta

import pytest

from workshed import db
from workshed.jobs import Snooze, cancelled, checkpoint
from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.control.cancel_rules import JobFilter
from workshed.jobs.dead import dead_jobs
from workshed.jobs.locks import unique

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

DISCARDS = "SELECT message_id, outcome, reason FROM workshed.attempts"
LONG_AGO_MS = 1_700_000_000_000


@pytest.fixture
def running(actor):
    """`running(work)`: an actor that starts, and calls `work` once `running.on` is set."""

    class Running:
        started = threading.Event()
        on = threading.Event()

        def __call__(self, work, **options):
            @actor(queue_name="default", actor_name="run", **options)
            def run():
                self.started.set()
                assert self.on.wait(60)
                return work()

            return run

    found = Running()
    found.started, found.on = threading.Event(), threading.Event()
    yield found
    found.on.set()


@pytest.fixture
def was_notified(rows, eventually):
    """Return a function that waits until the worker of a job knows that it was cancelled."""
    return lambda: eventually(
        lambda: rows("SELECT 1 FROM workshed.cancellations WHERE notified_at IS NOT NULL")
    )


def cancel(message):
    with db.transaction() as conn:
        return cancellations.cancel(conn, message.message_id)


def make_rule(**filters):
    with db.transaction() as conn:
        return cancel_rules.create_rule(conn, JobFilter(**filters))


def test_outside_a_job_nothing_was_cancelled():
    checkpoint()

    assert not cancelled()


# While it runs


def test_a_running_job_learns_that_it_was_cancelled(running, working, was_notified, eventually):
    said = []
    run = running(lambda: said.append(cancelled()))

    with working("default"):
        message = run.send()
        assert running.started.wait(60)
        assert cancel(message) == "will be skipped"
        was_notified()
        assert cancel(message) == "asked to stop"
        running.on.set()
        eventually(lambda: said == [True])


def test_a_checkpoint_ends_a_cancelled_job(running, working, was_notified, rows, eventually):
    """Treated as a failure, it would be retried, and be discarded only then."""
    went_on = []

    def work():
        checkpoint()
        went_on.append(1)

    run = running(work)

    with working("default"):
        message = run.send()
        assert running.started.wait(60)
        cancel(message)
        was_notified()
        running.on.set()
        found = eventually(lambda: rows(DISCARDS))

    assert found == [(message.message_id, "cancelled", "cancelled")]
    assert went_on == []
    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_the_writes_of_a_job_that_runs_once_are_rolled_back_at_a_checkpoint(
    running, working, was_notified, rows, conn, eventually
):
    conn.execute("CREATE TABLE public.written (number integer)")
    conn.commit()

    def work():
        with db.transaction() as tx:
            tx.execute("INSERT INTO public.written VALUES (1)")
        checkpoint()

    run = running(work, once=True)

    with working("default"):
        cancel_when_it_runs(running, run, was_notified)
        eventually(lambda: rows(DISCARDS))

    assert (
        rows("SELECT number FROM public.written")
        == rows("SELECT key FROM workshed.once_keys")
        == []
    )


def cancel_when_it_runs(running, run, was_notified):
    message = run.send()
    assert running.started.wait(60)
    cancel(message)
    was_notified()
    running.on.set()
    return message


def test_a_cancelled_job_that_succeeds_is_done(
    running, working, was_notified, rows, count_jobs, eventually
):
    run = running(lambda: None)

    with working("default"):
        cancel_when_it_runs(running, run, was_notified)
        eventually(lambda: count_jobs("default") == (0, 0))

    assert rows(DISCARDS) == rows("SELECT 1 FROM workshed.schedule") == []


@pytest.mark.parametrize(
    ("error", "class_"), [(OSError("away"), "OSError"), (Snooze(timedelta(days=1)), "Snooze")]
)
def test_a_cancelled_job_that_fails_does_not_wait_for_its_next_attempt(
    running, working, rows, eventually, error, class_
):
    """Its row would stay in the schedule, with its unique key, until it is due: for days.

    The worker asks PostgreSQL, because its own list of cancels may be a second old.
    """

    def fail():
        raise error

    run = running(fail)

    with working("default"):
        message = run.send_with_options(unique_key="k")
        assert running.started.wait(60)
        cancel(message)
        running.on.set()
        eventually(lambda: rows(DISCARDS))

    assert rows("SELECT reason, error_class FROM workshed.attempts") == [("cancelled", class_)]
    assert rows("SELECT 1 FROM workshed.schedule") == rows("SELECT 1 FROM workshed.dead") == []
    with db.transaction() as conn:
        assert unique.get_unique_lock(conn, "k") is None


@pytest.mark.rabbitmq("a row that waits is deleted when it is cancelled")
def test_a_cancel_of_an_earlier_run_does_not_reach_a_later_one(
    running, working, publish, rows, eventually
):
    """A worker remembers each id for ever; a job that was retried would stop at once."""
    said = []
    run = running(lambda: said.append(cancelled()))
    first = run.send()
    cancel(first)

    with working("default"):
        eventually(lambda: rows(DISCARDS))
        with db.transaction() as conn:
            cancellations.clear_cancellation(conn, first.message_id)
        publish(first.copy(options={"generation": 1}), outbox=True)
        assert running.started.wait(60)
        execution = run.broker._execution
        other = run.message().message_id
        with db.transaction() as conn:
            cancellations.cancel(conn, other)
        eventually(lambda: other in execution.cancelled_ids)  # the watch has looked meanwhile
        running.on.set()
        eventually(lambda: said == [False])


# By a rule


@pytest.fixture
def sent_long_ago(publish):
    """Publish a message that was sent long ago, as `send` does: no row knows of it."""

    def send(message, **headers):
        message = message.copy(message_timestamp=LONG_AGO_MS)
        publish(message, **headers)
        return message

    return send


@pytest.mark.parametrize("headers", [{}, {"outbox": True}])
@pytest.mark.parametrize("filters", [{"actor": "note"}, {"queue": "default"}, {"tag": "user-7"}])
def test_a_rule_cancels_a_job_that_waits_in_rabbitmq(
    actor, working, sent_long_ago, rows, eventually, filters, headers
):
    """No row names it, so that it cannot be cancelled by its id."""
    runs = []
    note = actor(queue_name="default", actor_name="note")(runs.append)
    old = sent_long_ago(note.message_with_options(args=(1,), tags=["user-7"]), **headers)
    rule = make_rule(**filters)

    with working("default"):
        found = eventually(lambda: rows(DISCARDS))
        note.send_with_options(args=(2,), tags=["user-7"])
        eventually(lambda: runs == [2])

    assert found == [(old.message_id, "cancelled", f"cancelled by rule {rule.id}")]


@pytest.mark.rabbitmq("a relay publishes a job after it was cancelled")
def test_for_a_scheduled_job_postgresql_is_asked_for_rules(
    actor, broker, working, sent_long_ago, rows, monkeypatch, eventually
):
    """A relay may publish it just before its worker looks for rules, once a second."""
    monkeypatch.setattr(broker._execution, "_matching_rule", lambda _job: None)
    runs = []
    note = actor(queue_name="default", actor_name="note")(runs.append)
    rule = make_rule(actor="note")

    with working("default"):
        sent_long_ago(note.message(1), outbox=True)
        eventually(lambda: rows("SELECT 1 FROM workshed.attempts"))

    assert rows("SELECT reason FROM workshed.attempts") == [(f"cancelled by rule {rule.id}",)]
    assert runs == []


def test_a_rule_leaves_other_jobs_alone(actor, working, sent_long_ago, eventually):
    runs = []
    note = actor(queue_name="default", actor_name="note", tags=["mail"])(runs.append)
    make_rule(actor="other")
    make_rule(tag="user-7")

    with working("default"):
        sent_long_ago(note.message(1))
        eventually(lambda: runs == [1])


def test_messages_carry_the_tags_of_their_actor(actor, rows):
    """A filter knows no actors, and finds only tags that are in the message."""
    note = actor(queue_name="default", actor_name="note", tags=("mail", "weekly"))(print)

    note.send_with_options(args=(1,), tags=["user-7", "mail"], delay=60_000)

    ((body,),) = rows("SELECT body::json -> 'options' -> 'tags' FROM workshed.schedule")
    assert body == ["mail", "weekly", "user-7"]


def test_a_rule_made_while_a_worker_holds_a_job_reaches_it(running, working, rows, eventually):
    run = running(lambda: None)

    with working("default", threads=1):
        run.send()
        assert running.started.wait(60)
        held = run.send()
        rule = make_rule(actor="run", older_than=timedelta(seconds=-1))
        eventually(lambda: [one.id for one in run.broker._execution.rules] == [rule.id])
        running.on.set()
        found = eventually(lambda: rows(DISCARDS))

    assert found == [(held.message_id, "cancelled", f"cancelled by rule {rule.id}")]


def test_a_running_job_learns_of_a_rule_that_matches_it(running, working, rows, eventually):
    run = running(checkpoint)

    with working("default"):
        message = run.send()
        assert running.started.wait(60)
        make_rule(actor="run", older_than=timedelta(seconds=-1))
        eventually(lambda: [d.job.cancelled for d in run.broker._execution.running_jobs] == [True])
        running.on.set()
        assert eventually(lambda: rows(DISCARDS)) == [
            (message.message_id, "cancelled", "cancelled")
        ]


def test_a_unique_job_under_a_rule_frees_its_key(actor, broker, working, rows, eventually):
    note = actor(queue_name="default", actor_name="note")(print)
    sent = note.send_with_options(args=(1,), unique_key="k")
    rule = make_rule(actor="note", older_than=timedelta(seconds=-1))

    with working("default"):
        eventually(lambda: rows(DISCARDS))
        with db.transaction() as conn:
            assert unique.get_unique_lock(conn, "k") is None
            cancel_rules.delete_rule(conn, rule.id)
        assert note.send_with_options(args=(2,), unique_key="k").message_id != sent.message_id


def test_a_dead_job_that_a_rule_matches_runs_when_it_is_retried(
    actor, working, relaying, rows, eventually
):
    """Its original timestamp is before the rule, and stays so."""
    runs = []
    note = actor(queue_name="default", actor_name="note")(runs.append)
    message = note.message(1).copy(message_timestamp=LONG_AGO_MS)
    with db.transaction() as conn:
        dead_jobs.add_dead_job(
            conn,
            message_id=message.message_id,
            generation=0,
            attempt=1,
            queue="default",
            actor="note",
            body=message.encode(),
            reason="failed once",
        )
        cancel_rules.create_rule(conn, JobFilter(actor="note", older_than=timedelta(hours=1)))
        dead_jobs.retry_job(conn, message.message_id)

    with relaying(), working("default"):
        eventually(lambda: runs == [1])  # a relay that is too early tries again in 5 s

    assert rows(DISCARDS) == []


def test_a_cancelled_job_of_an_unknown_actor_ends(actor, working, publish, rows, eventually):
    """Otherwise it would circulate for an hour and die, because it never reaches that check."""
    note = actor(queue_name="default", actor_name="note")(print)
    message = note.message(1).copy(actor_name="gone")
    cancel(message)

    with working("default"):
        publish(message)
        found = eventually(lambda: rows(DISCARDS))

    assert found == [(message.message_id, "cancelled", "cancelled")]
