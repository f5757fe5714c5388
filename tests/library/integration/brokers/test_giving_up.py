"""A job that exceeds its hard limit: charged once, whatever its thread does later."""

import threading

import pytest

from workshed.errors import EXIT_HARD_DEADLINE
from workshed.middleware import HardTimeLimitExceeded

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def left(broker, monkeypatch):
    """The exit codes with which this process would have exited."""
    codes = []
    monkeypatch.setattr("workshed.transport.worker.shutdown.os._exit", codes.append)
    return codes


@pytest.fixture
def endless(actor):
    """`endless(**options)`: an actor that waits until `endless.on` is set."""

    class Endless:
        def __init__(self):
            self.started, self.on = threading.Event(), threading.Event()

        def __call__(self, **options):
            @actor(queue_name="default", actor_name="endless", **options)
            def endless():
                self.started.set()
                assert self.on.wait(60)

            return endless

    found = Endless()
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
    endless, broker, working, left, rows, count_jobs, eventually
):
    actor = endless()

    with working("default"):
        sent = actor.send()
        assert endless.started.wait(60)
        give_up(broker)
        eventually(lambda: left == [EXIT_HARD_DEADLINE])
        eventually(lambda: count_jobs("default") == (0, 0))
        endless.on.set()

    query = (
        "SELECT message_id, reason, (body::json -> 'options' ->> 'attempt') FROM workshed.schedule"
    )
    assert rows(query) == [(sent.message_id, "retry", "2")]
    assert rows("SELECT attempt, error_class FROM workshed.attempts") == [
        (1, "HardTimeLimitExceeded")
    ]


def test_a_thread_that_comes_back_changes_nothing(
    endless, broker, working, left, rows, count_jobs, eventually
):
    """A second ack of one delivery would close the channel of all."""
    actor = endless(max_retries=0)

    with working("default"):
        actor.send()
        assert endless.started.wait(60)
        delivery = give_up(broker)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        endless.on.set()
        eventually(lambda: not delivery.is_running)
        eventually(lambda: count_jobs("default")[1] == 0)
        assert delivery.channel.is_open

    assert rows("SELECT outcome FROM workshed.attempts") == [("dead",)]


def test_a_job_whose_outcome_cannot_be_stored_is_delivered_again(
    endless, broker, working, left, rows, count_jobs, failing, eventually
):
    """If it were acked, it would be lost."""
    actor = endless()

    with working("default"):
        actor.send()
        assert endless.started.wait(60)
        with failing("workshed.completed_generations"):
            give_up(broker)
            eventually(lambda: left)
        eventually(lambda: count_jobs("default")[0] == 1)
        endless.on.set()

    for found in ("attempts", "schedule WHERE reason = 'retry'", "dead"):
        assert rows(f"SELECT 1 FROM workshed.{found}") == []  # noqa: S608 -- of the names above


def test_during_a_shutdown_no_job_is_charged(endless, broker, working, left, rows, eventually):
    actor = endless()

    with working("default"):
        actor.send()
        assert endless.started.wait(60)
        broker._lifecycle._shutdown.begin()
        give_up(broker)
        endless.on.set()
        eventually(lambda: not list(broker._execution.running_jobs))

    assert rows("SELECT 1 FROM workshed.attempts") == []
    assert left == []


@pytest.mark.rabbitmq("the consumer timeout")
def test_a_hard_limit_that_rabbitmq_would_cut_is_refused(actor, working, caplog):
    @actor(queue_name="default", time_limit=1_000, hard_time_limit=46 * 60_000)
    def long_one():
        """Never runs."""

    with pytest.raises(SystemExit), working("default"):
        """Not reached."""

    assert "more than three quarters of the consumer timeout" in caplog.text
