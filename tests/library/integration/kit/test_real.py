"""Jobs that a worker process runs, with RabbitMQ and without it."""

import signal

import dramatiq
import pytest

from workshed import Queue, broker
from workshed.testing.real_worker.worker import WorkerProcess

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = [
    pytest.mark.jobs(mode="real"),
    pytest.mark.one_in(3),
    pytest.mark.usefixtures("any_transport"),
]


def test_a_worker_ends_when_the_tests_are_killed(tmp_path, eventually):
    worker = WorkerProcess([], tmp_path)
    worker.start()

    worker._process.stdin.close()  # as happens when its parent ends

    assert eventually(worker._process.poll) == -signal.SIGKILL


OWN_QUEUE = """
    import dramatiq
    from workshed import Queue, broker

    broker.add_queue(Queue("invoices"))

    @dramatiq.actor(broker=broker, queue_name="invoices")
    def send_invoice(number):
        remind.send_with_options(args=(number,), delay=3_600_000)

    @dramatiq.actor(broker=broker, queue_name="invoices")
    def remind(number):
        pass
"""
OWN_TEST = """
    import pytest
    from invoices import remind, send_invoice

    @pytest.mark.jobs(mode="real")
    @pytest.mark.parametrize("number", [7, 8])
    def test_it(jobs, number):
        send_invoice.send(number)
        jobs.drain()
        jobs.assert_enqueued(remind, number, times=1)
"""


def test_a_queue_of_the_application_is_known(project, transport):
    """This includes a queue that only `send_invoice` uses."""
    if transport == "postgresql":
        project.environment["WORKSHED_BROKER_URL"] = "postgresql:"
    project.write("invoices.py", OWN_QUEUE)
    project.write("test_invoices.py", OWN_TEST)

    project.run().assert_outcomes(passed=2)


def test_a_queue_that_is_added_in_a_test_is_known(jobs):
    """The broker that sends in this mode learns of it, too."""
    broker.add_queue(Queue("added"))
    try:
        broker.enqueue(dramatiq.Message("added", "of_another_program", (), {}, {}))
    finally:
        del broker.declared_queues["added"]
