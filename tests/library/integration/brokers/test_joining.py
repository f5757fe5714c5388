"""`join`, `flush` and counts, as test suites of dramatiq users call them."""

import threading

import pytest
from dramatiq.errors import QueueJoinTimeout

from workshed import Batch
from workshed.middleware import Unique
from workshed.transport.errors import UndeclaredQueueError

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

HOUR_MS = 3_600_000


@pytest.fixture
def note(actor):
    """An actor that records its runs; each waits until `note.on` is set."""
    runs, on = [], threading.Event()
    on.set()

    @actor(queue_name="default", max_retries=1, min_backoff=1, max_backoff=1)
    def note(number):
        assert on.wait(60)
        runs.append(number)
        if runs.count(number) == 1 and number < 0:
            raise OSError("fails on purpose once")

    note.runs, note.on = runs, on
    yield note
    on.set()


def test_join_returns_once_all_have_run_with_their_retries_and_delays(
    note, broker, working, relaying
):
    """The idiom of dramatiq: `broker.join(queue)`, then `worker.join()`, then the assertions."""
    with working("default") as worker, relaying():
        for number in range(20):
            note.send(number)
        note.send(-1)
        note.send_with_options(args=(99,), delay=500)
        broker.join("default", timeout=60_000)
        worker.join()

        assert sorted(note.runs) == [-1, -1, *range(20), 99]


def test_join_waits_for_jobs_that_run_here(note, broker, working, eventually):
    """RabbitMQ's count of a queue excludes messages that a worker has."""
    note.on.clear()

    with working("default"):
        note.send(1)
        eventually(lambda: broker._execution.has_jobs("default"))
        with pytest.raises(QueueJoinTimeout):
            broker.join("default", timeout=1_000)
        note.on.set()
        broker.join("default", timeout=60_000)

    assert note.runs == [1]


def test_a_queue_that_does_not_exist_is_empty(broker):
    assert broker.get_queue_message_counts("default") == (0, 0, 0)
    broker.join("default", timeout=60_000)


def test_an_undeclared_queue_is_refused(broker):
    for ask in (broker.join, broker.flush, broker.get_queue_message_counts):
        with pytest.raises(UndeclaredQueueError):
            ask("defualt")


def test_messages_are_counted_and_flushed(note, actor, broker, working, eventually):
    @actor(queue_name="default", max_retries=0)
    def die():
        raise OSError("for good")

    with working("default"):
        die.send()
        eventually(lambda: broker.get_queue_message_counts("default") == (0, 0, 1))
    for number in (1, 2):
        note.send(number)
    note.send_with_options(args=(3,), delay=HOUR_MS)
    assert broker.get_queue_message_counts("default") == (2, 1, 1)

    broker.flush_all()

    assert broker.get_queue_message_counts("default") == (0, 0, 0)


def test_flushed_jobs_hold_nothing_any_more(actor, broker, conn, rows):
    """Otherwise a key would be held in the next test, and a batch would never end."""

    @actor(queue_name="default", unique=Unique())
    def once(number):
        pass

    once.send(1)
    once.send_with_options(args=(2,), delay=HOUR_MS)
    batch = Batch()
    with batch.adding(conn):
        batch.add(conn, once.message(3))
    conn.commit()

    broker.flush("default")

    assert rows("SELECT 1 FROM workshed.unique_locks") == []
    assert rows("SELECT 1 FROM workshed.schedule") == []
    assert batch.progress(conn).cancelled == 1
