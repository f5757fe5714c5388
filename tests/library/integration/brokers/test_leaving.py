"""SIGTERM reaches a worker at once, and not only when dramatiq checks for it."""

import os
import signal
import threading

import pytest

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""


@pytest.fixture
def signals():
    """The signals that the previous handler received."""
    signals = []
    before = signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_what_waits_is_given_back_while_a_job_still_runs(
    signals, actor, working, count_jobs, eventually
):
    """Without the chained handler nothing is requeued before dramatiq stops its worker."""
    on, started = threading.Event(), []

    @actor(queue_name="default")
    def hold(number):
        started.append(number)
        assert on.wait(60)

    with working("default", threads=1):
        hold.send(1)
        eventually(lambda: started == [1])
        hold.send(2)
        eventually(lambda: count_jobs("default")[1] == 2)

        os.kill(os.getpid(), signal.SIGTERM)

        eventually(lambda: count_jobs("default") == (1, 1))
        assert signals == [signal.SIGTERM]
        on.set()
        eventually(lambda: count_jobs("default")[1] == 0)

    assert started == [1]
    eventually(lambda: count_jobs("default")[0] == 1)
