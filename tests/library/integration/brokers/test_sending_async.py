"""`send_async`: the promises of `enqueue`, while the event loop continues."""

import asyncio
import threading
import time
from datetime import timedelta

import pytest

from workshed.errors import DatabaseUnreachableError
from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerUnreachableError,
    InvalidArgumentError,
    PublishRefusedError,
)

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

ROWS = "SELECT message_id, reason, possible_duplicate FROM workshed.schedule"
LOCKS = "SELECT 1 FROM workshed.unique_locks"


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def mail(actor):
    return actor(queue_name="emails", actor_name="mail")(lambda number: None)


@pytest.fixture
def no_threads(monkeypatch):
    """Let `asyncio.to_thread` fail."""

    def refuse(*_):
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(asyncio, "to_thread", refuse)


@pytest.fixture
def send(broker):
    """Return a function that sends a message from an event loop of its own."""
    return lambda message, **when: asyncio.run(broker.send_async(message, **when))


@pytest.mark.rabbitmq("a send that stores no row")
@pytest.mark.usefixtures("no_threads")
def test_a_plain_message_needs_no_thread(greet, send, peek):
    message = send(greet.message(1))

    assert peek("default")[0].message_id == message.message_id


@pytest.mark.fresh_vhost
@pytest.mark.usefixtures("no_threads")
def test_a_thousand_tasks_share_one_window(greet, broker, rabbitmq, eventually):
    most = []
    pump = broker._publisher._pump

    def noted():
        pump()
        most.append(len(broker._publisher._pending))

    async def send():
        await broker.send_async(greet.message(0))
        broker._publisher._link.call_soon(noted)
        await asyncio.gather(*(broker.send_async(greet.message(n)) for n in range(1_000)))

    broker._publisher._pump = noted
    asyncio.run(send())

    eventually(lambda: rabbitmq.depth("default") == 1_001)
    assert max(most) > 100
    eventually(lambda: len(rabbitmq.connections()) == 1)


def test_several_loops_send_in_parallel(greet, broker, in_threads, count_jobs, eventually):
    async def send(first):
        await asyncio.gather(*(broker.send_async(greet.message(first + n)) for n in range(100)))

    in_threads(lambda number: asyncio.run(send(number * 100)), range(6), threads=6)

    eventually(lambda: count_jobs("default")[0] == 600)


def test_a_message_that_enqueue_refuses_is_refused_here(greet, send, full, rabbitmq, eventually):
    with pytest.raises(InvalidArgumentError):
        send(greet.message(float("nan")))

    greet.send(0)
    full(1)

    def refused():
        try:
            send(greet.message(1))
        except PublishRefusedError:
            return True
        return False

    assert eventually(refused)


@pytest.mark.usefixtures("not_storing", "unanswered")
def test_the_loop_goes_on_until_the_deadline(greet, broker, patience):
    patience(0.5)
    ticks = []

    async def tick():
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.01)

    async def send():
        ticking = asyncio.create_task(tick())
        with pytest.raises(BrokerUnreachableError, match="a copy may have arrived"):
            await broker.send_async(greet.message(1))
        ticking.cancel()

    asyncio.run(send())

    assert len(ticks) > 10
    assert not broker._publisher._pending


@pytest.mark.usefixtures("not_storing")
def test_an_outage_is_raised(greet, send, blocked, patience):
    greet.send(0)
    patience(0.2)

    with blocked(), pytest.raises(BrokerBlockedError, match="nothing was sent"):
        send(greet.message(1))


def test_a_message_that_rabbitmq_cannot_take_is_stored(greet, broker, away, rows):
    away()

    async def send():
        return await asyncio.gather(*(broker.send_async(greet.message(n)) for n in range(50)))

    sent = asyncio.run(send())

    assert sorted(rows(ROWS)) == sorted((m.message_id, "broker_down", False) for m in sent)


def test_a_delayed_message_is_a_row(greet, send, rows):
    message = send(greet.message(1), delay=timedelta(days=3))

    assert rows(ROWS) == [(message.message_id, "delayed", False)]


def test_a_mail_has_its_row_and_a_unique_message_its_lock(greet, mail, send, rows, rabbitmq):
    one = greet.message_with_options(args=(1,), unique_key="k")

    send(mail.message(1))
    first, second = send(one), send(one.copy(message_id="another"))

    assert second.message_id == first.message_id == one.message_id
    assert len(rows(LOCKS)) == 1
    headers = rabbitmq.peek("emails")[0]["properties"]["headers"]
    assert headers["outbox"] is True


@pytest.mark.usefixtures("no_database")
def test_without_postgresql_a_mail_is_not_sent(mail, send):
    with pytest.raises(DatabaseUnreachableError, match=r"nothing was sent|was not stored") as err:
        send(mail.message(1))

    assert "may have been stored" not in str(err.value)


# Cancelled


@pytest.fixture
def cancelled(broker, eventually):
    """`cancelled(message, when)`: start a send, and cancel it once `when()` is true."""

    async def send(message, when):
        task = asyncio.create_task(broker.send_async(message))
        await asyncio.to_thread(eventually, when)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    return lambda message, when: asyncio.run(send(message, when))


def test_a_cancelled_task_withdraws_a_waiting_message(
    greet, broker, cancelled, stuck, count_jobs, peek, eventually
):
    """Otherwise it would be sent when RabbitMQ comes back, although its sender has given up."""
    with stuck():
        cancelled(greet.message(1), lambda: broker._publisher._waiting)
        eventually(lambda: not broker._publisher._waiting)

    last = greet.send(2)

    eventually(lambda: count_jobs("default")[0] == 2)
    assert peek("default")[1].message_id == last.message_id


def test_a_cancelled_unique_message_leaves_nothing(
    greet, broker, cancelled, stuck, rows, eventually
):
    """Its lock would keep others from being sent, for a job that does not exist."""
    one = greet.message_with_options(args=(1,), unique_key="k")

    with stuck():
        cancelled(one, lambda: broker._publisher._waiting)
        eventually(lambda: rows(ROWS) == rows(LOCKS) == [])


@pytest.mark.rabbitmq("rows of messages that are published next")
def test_a_message_cancelled_while_it_is_stored_leaves_nothing(
    greet, broker, rows, monkeypatch, eventually
):
    """Cancelling the task does not stop the thread that stores the message."""
    greet.send(0)
    begun, go_on = threading.Event(), threading.Event()
    lease = broker._sender._lease

    def slow(*args):
        begun.set()
        go_on.wait(60)
        lease(*args)

    monkeypatch.setattr(broker._sender, "_lease", slow)
    one = greet.message_with_options(args=(1,), unique_key="k")

    async def send():
        task = asyncio.create_task(broker.send_async(one))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()

    asyncio.run(send())

    eventually(lambda: rows(ROWS) == rows(LOCKS) == [])


@pytest.mark.usefixtures("unanswered")
def test_a_message_cancelled_on_its_way_keeps_its_row(mail, broker, cancelled, rows, eventually):
    """It may have arrived: a relay sends a copy, which deduplication drops if need be."""
    message = mail.message(1)

    cancelled(message, lambda: broker._publisher._pending)
    eventually(lambda: not broker._publisher._pending)

    assert rows(ROWS) == [(message.message_id, "outbox_lease", False)]
