"""Observers get each delivery once it is stored, with one outcome of a closed set."""

import threading
import time
from datetime import timedelta

import pytest
from dramatiq.middleware import SkipMessage

from workshed import db
from workshed.jobs import Discard, Snooze, checkpoint
from workshed.jobs.control import cancellations
from workshed.jobs.idempotency import completed_generations, starts
from workshed.middleware import Observer

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

LONG = timedelta(hours=1)


class Witness(Observer):
    """Keeps all calls."""

    def __init__(self):
        self.began_ids = []
        self.kinds = []
        self.jobs = []

    def on_start(self, job):
        self.began_ids.append(job.message_id)

    def on_outcome_stored(self, job, outcome):
        self.kinds.append(outcome.kind)
        self.jobs.append(job)


@pytest.fixture
def seen(broker):
    """An observer of this test."""
    witness = Witness()
    broker.add_middleware(witness)
    yield witness
    broker.middleware.remove(witness)
    broker._hooks.clear()


@pytest.fixture
def note(actor):
    """`note(error)`: an actor that raises it."""

    def declare(error=None, **options):
        @actor(**{"queue_name": "default", "actor_name": "note", "max_retries": 0, **options})
        def note(number):
            if error is not None:
                raise error

        return note

    return declare


@pytest.mark.parametrize(
    ("error", "options", "label"),
    [
        (None, {}, "succeeded"),
        (OSError("away"), {"max_retries": 1}, "retry"),
        (OSError("away"), {}, "dead"),
        (Snooze(LONG), {}, "snoozed"),
        (Discard("paid already"), {}, "discarded"),
        (SkipMessage(), {}, "skipped"),
    ],
)
def test_a_run_is_observed_once_with_its_outcome(
    error, options, label, note, seen, working, eventually
):
    job = note(error, **options)

    with working("default"):
        message = job.send(7)
        eventually(lambda: seen.kinds)

    assert (seen.kinds, seen.began_ids) == ([label], [message.message_id])


def test_the_time_it_waited_and_ran_is_known(actor, seen, working, eventually):
    @actor(queue_name="default")
    def nap():
        threading.Event().wait(0.05)

    before = time.time()
    nap.send()
    threading.Event().wait(0.1)
    with working("default"):
        eventually(lambda: seen.kinds == ["succeeded"])

    job = seen.jobs[0]
    assert before < job.started_at < time.time()
    assert 0.1 <= job.queue_wait_s < time.time() - before
    assert 0.05 <= job.duration_s < time.time() - before


def cancelled(message, publish):
    with db.transaction() as conn:
        cancellations.cancel(conn, message.message_id)
    publish(message, possible_duplicate=True)


def expired(message, publish):
    publish(message.copy(options={"expires": 1}, message_timestamp=0))


def killer(message, publish):
    with db.transaction() as conn:
        for _ in range(2):
            starts.record_start(conn, message.message_id, 0, isolated=True, host="gone", pid=1)
    publish(message, possible_duplicate=True)


def settled_before(message, publish):
    with db.transaction() as conn:
        completed_generations.complete_generation(conn, message.message_id, 0)
    publish(message, possible_duplicate=True)


def stranger(message, publish):
    publish(message.copy(actor_name="stranger"))


@pytest.mark.parametrize(
    ("sent", "label"),
    [
        (cancelled, "cancelled"),
        (expired, "expired"),
        (killer, "poison"),
        (settled_before, "duplicate"),
        (stranger, "unknown_actor"),
    ],
)
def test_a_job_that_did_not_run_is_observed_too(
    sent, label, note, seen, working, publish, eventually
):
    message = note().message(7)

    with working("default"):
        sent(message, publish)
        eventually(lambda: seen.kinds)

    assert (seen.kinds, seen.began_ids) == ([label], [])
    assert (seen.jobs[0].duration_s, seen.jobs[0].queue_wait_s) == (None, None)


def test_a_copy_of_a_job_that_runs_once_is_a_duplicate(actor, seen, working, publish, eventually):
    @actor(queue_name="default", once=True)
    def pay(number):
        pass

    message = pay.message(7)
    with working("default", threads=1):
        publish(message)
        eventually(lambda: seen.kinds == ["succeeded"])
        publish(message)
        eventually(lambda: seen.kinds == ["succeeded", "duplicate"])


def test_a_running_job_that_ends_at_a_checkpoint_was_cancelled(
    actor, seen, working, connect, eventually
):
    @actor(queue_name="default")
    def endless():
        while True:
            checkpoint()
            threading.Event().wait(0.01)

    with working("default"):
        message = endless.send()
        eventually(lambda: seen.began_ids)
        with db.transaction() as conn:
            cancellations.cancel(conn, message.message_id)
        eventually(lambda: seen.kinds == ["cancelled"])


def test_an_observer_that_fails_changes_nothing(note, broker, seen, working, rows, eventually):
    """Without a guard the job would run again, or its thread would end without an ack."""

    class Broken(Observer):
        def on_start(self, job):
            raise OSError("away")

        def on_outcome_stored(self, job, outcome):
            raise SystemExit

    broken = Broken()
    broker.add_middleware(broken)
    job = note(OSError("for good"))
    with working("default"):
        job.send(7)
        eventually(lambda: seen.kinds == ["dead"])
        job.send(8)
        eventually(lambda: seen.kinds == ["dead", "dead"])
    broker.middleware.remove(broken)

    assert rows("SELECT count(*) FROM workshed.dead") == [(2,)]


def test_a_job_is_the_parent_of_the_jobs_it_sends(actor, seen, working, rows, eventually):
    """This includes its callbacks, which are sent after its function has returned."""

    @actor(queue_name="low")
    def child(*_args):
        pass

    @actor(queue_name="default", on_success=child)
    def parent():
        child.send_with_options(delay=3_600_000)

    with working("default"):
        message = parent.send()
        eventually(lambda: seen.kinds == ["succeeded"])

    query = "SELECT body::jsonb->'options'->>'parent' FROM workshed.schedule"
    assert rows(query) == [(message.message_id,)] * 2
