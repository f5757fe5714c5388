"""Several workers of one process, one after the other, as test suites start them."""

import pytest
from dramatiq import Worker

from workshed.transport.errors import UndeclaredQueueError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

pytestmark = pytest.mark.fresh_vhost


@pytest.fixture
def note(actor):
    """An actor that records its runs."""
    runs = []

    @actor(queue_name="default")
    def note(number):
        runs.append(number)

    note.runs = runs
    return note


@pytest.fixture
def begin(broker):
    """`begin("default")`: start a plain dramatiq worker."""

    def start(*queues):
        worker = Worker(broker, queues=set(queues), worker_threads=2, worker_timeout=100)
        worker.start()
        return worker

    yield start
    broker.middleware = [m for m in broker.middleware if "_Worker" not in type(m).__name__]
    broker._hooks.clear()


@pytest.fixture
def consumers(request, transport):
    """`consumers()`: those that RabbitMQ knows."""
    is_rabbitmq = transport == "rabbitmq"
    return request.getfixturevalue("rabbitmq").consumers if is_rabbitmq else list


def test_each_worker_consumes(note, begin, consumers, eventually):
    """Otherwise the second would report that it is up, and leave every job in its queue."""
    for number in (1, 2, 3):
        worker = begin("default")
        note.send(number)
        eventually(lambda number=number: note.runs[-1:] == [number])
        worker.stop()
        eventually(lambda: consumers() == [])

    assert note.runs == [1, 2, 3]


def test_a_worker_consumes_after_the_broker_was_closed(note, begin, broker, eventually):
    worker = begin("default")
    note.send(1)
    eventually(lambda: note.runs == [1])
    worker.stop()
    broker.close()

    worker = begin("default")
    note.send(2)
    eventually(lambda: note.runs == [1, 2])
    worker.stop()


def test_a_worker_that_did_not_start_can_be_stopped(broker, begin):
    """Otherwise an AttributeError would hide why it did not start."""
    worker = Worker(broker, queues={"nowhere"}, worker_threads=1)

    with pytest.raises(SystemExit) as exit_code:
        worker.start()
    worker.stop()

    assert exit_code.value.code == 2
    assert isinstance(exit_code.value.__context__, UndeclaredQueueError)
