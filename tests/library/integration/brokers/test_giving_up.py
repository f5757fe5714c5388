"""A job that exceeds its hard limit: charged once, whatever its thread does later."""

import threading

import pytest

from workshed import db
from workshed.errors import EXIT_HARD_DEADLINE
from workshed.middleware import HardTimeLimitExceeded


@pytest.fixture
def left(broker, monkeypatch):
    """The exit codes with which this process would have exited."""
    codes = []
    monkeypatch.setattr("workshed.transport.worker.shutdown.os._exit", codes.append)
    return codes


@pytest.fixture
def stuck(actor):
    """`stuck(**options)`: an actor that waits until `stuck.on` is set."""

    class Stuck:
        def __init__(self):
            self.started, self.on = threading.Event(), threading.Event()

        def __call__(self, **options):
            @actor(queue_name="default", actor_name="stuck", **options)
            def stuck():
                self.started.set()
                assert self.on.wait(60)

            return stuck

    found = Stuck()
    yield found
    found.on.set()


def give_up(broker):
    """Do what happens at the hard limit of the only running job."""
    [delivery] = broker._execution.running_jobs
    error = HardTimeLimitExceeded("exceeded its hard limit of 1 s")
    broker._lifecycle._shutdown.recycle_process(
        delivery, broker.get_actor(delivery.actor_name), error
    )
    return delivery


def test_the_job_is_retried_and_acked_and_the_process_exits(
    stuck, broker, working, left, rows, rabbitmq, eventually
):
    actor = stuck()

    with working("default"):
        sent = actor.send()
        assert stuck.started.wait(60)
        give_up(broker)
        eventually(lambda: left == [EXIT_HARD_DEADLINE])
        eventually(lambda: rabbitmq.unacked("default") == rabbitmq.depth("default") == 0)
        stuck.on.set()

    query = (
        "SELECT message_id, reason, (body::json -> 'options' ->> 'attempt') FROM workshed.schedule"
    )
    assert rows(query) == [(sent.message_id, "retry", "2")]
    assert rows("SELECT attempt, error_class FROM workshed.attempts") == [
        (1, "HardTimeLimitExceeded")
    ]


def test_a_thread_that_comes_back_changes_nothing(
    stuck, broker, working, left, rows, rabbitmq, eventually
):
    """A second ack of one delivery would close the channel of all."""
    actor = stuck(max_retries=0)

    with working("default"):
        actor.send()
        assert stuck.started.wait(60)
        delivery = give_up(broker)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        stuck.on.set()
        eventually(lambda: not delivery.is_running)
        eventually(lambda: rabbitmq.unacked("default") == 0)
        assert delivery.channel.is_open

    assert rows("SELECT outcome FROM workshed.attempts") == [("dead",)]


def test_a_job_whose_outcome_cannot_be_stored_is_delivered_again(
    stuck, broker, working, left, rows, rabbitmq, failing, eventually
):
    """If it were acked, it would be lost."""
    actor = stuck()

    with working("default"):
        actor.send()
        assert stuck.started.wait(60)
        with failing("workshed.completed_generations"):
            give_up(broker)
            eventually(lambda: left)
        eventually(lambda: rabbitmq.depth("default") == 1)
        stuck.on.set()

    with db.transaction() as conn:
        for table in ("attempts", "schedule", "dead"):
            assert conn.execute(f"SELECT 1 FROM workshed.{table}").fetchall() == []  # noqa: S608


def test_during_a_shutdown_no_job_is_charged(stuck, broker, working, left, rows, eventually):
    actor = stuck()

    with working("default"):
        actor.send()
        assert stuck.started.wait(60)
        broker._lifecycle._shutdown.begin()
        give_up(broker)
        stuck.on.set()
        eventually(lambda: not list(broker._execution.running_jobs))

    assert rows("SELECT 1 FROM workshed.attempts") == []
    assert left == []


def test_a_hard_limit_that_rabbitmq_would_cut_is_refused(actor, working, caplog):
    @actor(queue_name="default", time_limit=1_000, hard_time_limit=46 * 60_000)
    def long_one():
        """Never runs."""

    with pytest.raises(SystemExit), working("default"):
        """Not reached."""

    assert "more than three quarters of the consumer timeout" in caplog.text
