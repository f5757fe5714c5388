"""`enqueue_many`: every message is safe, or is reported with its error."""

import socket
import time
from datetime import timedelta

import dramatiq
import pytest
from dramatiq.middleware import MiddlewareError

from workshed import db
from workshed.errors import DatabaseUnreachableError
from workshed.transport.errors import (
    BrokerBlockedError,
    BrokerUnreachableError,
    InvalidArgumentError,
    NackedError,
    PartialSendError,
)

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

STORED = "SELECT message_id, reason, possible_duplicate FROM workshed.schedule"


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def other(actor):
    return actor(queue_name="low", actor_name="other")(lambda number: None)


@pytest.fixture
def messages(greet):
    """`messages(3)`: so many messages."""
    return lambda number: [greet.message(n) for n in range(number)]


@pytest.fixture
def found(count_jobs, peek, eventually):
    """`found("default", 3)`: wait for so many messages in a queue; their ids, in order."""

    def wait(queue, number):
        eventually(lambda: count_jobs(queue)[0] >= number)
        return [m.message_id for m in peek(queue)]

    return wait


def ids(messages):
    return [message.message_id for message in messages]


def test_all_arrive_and_rabbitmq_keeps_their_order(messages, broker, found, transport):
    """Without RabbitMQ, all are due at the time of their transaction."""
    sent = broker.enqueue_many(message for message in messages(1_234))
    arrived = found("default", 1_234)

    assert len(sent) == 1_234
    assert sorted(arrived) == sorted(ids(sent))
    assert transport == "postgresql" or arrived == ids(sent)


@pytest.mark.fresh_vhost
def test_no_message_is_sent_before_all_are_checked(messages, greet, broker, has_sent):
    with pytest.raises(InvalidArgumentError):
        broker.enqueue_many([*messages(600), greet.message(float("nan"))])

    assert not has_sent()


@pytest.mark.fresh_vhost
def test_no_message_is_sent_before_every_hook_has_agreed(messages, broker, has_sent):
    class Veto(dramatiq.Middleware):
        def before_enqueue(self, broker, message, delay):
            if message.args == (599,):
                raise MiddlewareError("not this one")

    broker.add_middleware(Veto())

    try:
        with pytest.raises(MiddlewareError):
            broker.enqueue_many(messages(600))
    finally:
        broker.middleware.pop()
        broker._hooks.clear()

    assert not has_sent()


def test_an_empty_list_is_accepted(broker):
    assert broker.enqueue_many([]) == []


@pytest.mark.rabbitmq("connections to RabbitMQ")
def test_a_lost_connection_loses_none(messages, broker, found, rows, monkeypatch):
    broker.enqueue_many(messages(1))
    publisher, cuts = broker._publisher, []
    send = publisher._send

    def cut(publication):
        send(publication)
        if len(publisher._pending) in (300, 600, 900) and len(cuts) < 3:
            cuts.append(len(publisher._pending))
            publisher._link._connection._transport._sock.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(publisher, "_send", cut)
    sent = broker.enqueue_many(messages(3_000))

    assert cuts
    assert rows(STORED) == []
    assert set(found("default", 3_001)) >= set(ids(sent))


def test_refused_and_accepted_messages_of_a_full_queue_are_distinguished(
    messages, broker, full, found
):
    """Unless each publish is checked, refused messages are reported as confirmed."""
    broker.ensure_queues({"default"})
    full(100)

    with pytest.raises(PartialSendError, match=r"of 2000 messages were not sent.*full") as error:
        broker.enqueue_many(messages(2_000))

    sent, unsent = error.value.sent, error.value.unsent
    assert len(sent) + len(unsent) == 2_000
    assert {type(err) for _, err in unsent} == {NackedError}
    assert found("default", len(sent)) == ids(sent)


def test_messages_without_a_queue_do_not_stop_the_others(
    greet, other, broker, rabbitmq, rows, found, away, vhost
):
    broker.ensure_queues({"default", "low"})
    rabbitmq.ask("PUT", "users/sender", {"password": "pw", "tags": ""})
    rights = {"configure": "^$", "write": "^workshed.jobs$", "read": "^$"}
    rabbitmq.ask("PUT", f"permissions/{rabbitmq.vhost}/sender", rights)
    away(vhost.replace(vhost.partition("://")[2].partition("@")[0], "sender:pw"))
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/low")
    good, bad = ([one.message(n) for n in range(700)] for one in (greet, other))

    with pytest.raises(PartialSendError) as error:
        broker.enqueue_many(one for pair in zip(good, bad, strict=True) for one in pair)

    assert error.value.sent == good
    assert [message for message, _ in error.value.unsent] == bad
    assert found("default", 700) == ids(good)
    assert rows(STORED) == []
    rabbitmq.ask("DELETE", "users/sender")


def test_queues_that_were_deleted_are_made_again(greet, other, broker, rabbitmq, found):
    broker.ensure_queues({"default", "low"})
    for name in ("default", "low"):
        rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/{name}")

    broker.enqueue_many([one.message(n) for n in range(700) for one in (greet, other)])

    assert len(found("default", 700)) == len(found("low", 700)) == 700


@pytest.mark.usefixtures("not_storing", "unanswered")
def test_unconfirmed_and_unsent_messages_are_distinguished(messages, broker, patience):
    patience(0.3)

    with pytest.raises(PartialSendError) as error:
        broker.enqueue_many(messages(1_700))

    assert error.value.sent == []
    fates = [str(err) for _, err in error.value.unsent]
    assert all("a copy may have arrived" in fate for fate in fates[:990])
    assert all(fate.startswith("not sent") for fate in fates[1_000:])


@pytest.mark.usefixtures("unanswered")
def test_messages_that_were_not_confirmed_in_time_are_stored(messages, broker, patience, rows):
    patience(0.3)
    batch = messages(1_200)

    assert broker.enqueue_many(batch) == batch

    stored = rows(STORED)
    assert {row[0] for row in stored} == set(ids(batch))
    assert {row[1:] for row in stored} == {("broker_down", True)}


def test_while_rabbitmq_is_blocked_all_are_stored_at_once(messages, broker, blocked, rows):
    broker.enqueue_many(messages(1))
    batch = messages(1_200)

    with blocked():
        began = time.monotonic()
        assert broker.enqueue_many(batch) == batch
        assert time.monotonic() - began < 120  # one after the other, each would wait for 5 s

    assert {row[1:] for row in rows(STORED)} == {("broker_down", False)}
    assert len(rows(STORED)) == 1_200


@pytest.mark.usefixtures("not_storing")
def test_without_the_fallback_the_first_outage_ends_it(messages, broker, blocked, patience):
    broker.enqueue_many(messages(1))
    patience(0.3)

    with blocked(), pytest.raises(PartialSendError, match="1700 of 1700") as error:
        broker.enqueue_many(messages(1_700))

    assert {type(err) for _, err in error.value.unsent} == {BrokerBlockedError}


@pytest.mark.usefixtures("no_database")
def test_with_postgresql_away_too_it_ends_soon(messages, broker, away):
    away()
    began = time.monotonic()

    with pytest.raises(PartialSendError) as error:
        broker.enqueue_many(messages(5_000))

    assert time.monotonic() - began < 30  # the pool's short wait for each window in flight
    assert len(error.value.unsent) == 5_000
    assert {type(err) for _, err in error.value.unsent} == {BrokerUnreachableError}


@pytest.mark.rabbitmq("sends without PostgreSQL")
@pytest.mark.usefixtures("no_database")
def test_without_postgresql_plain_messages_of_a_window_are_sent_and_mails_are_not(
    greet, actor, broker, found
):
    mail = actor(queue_name="emails", actor_name="mail")(lambda number: None)

    with pytest.raises(PartialSendError) as error:
        broker.enqueue_many([greet.message(1), mail.message(2), greet.message(3)])

    assert [message.actor_name for message, _ in error.value.unsent] == ["mail"]
    assert {type(err) for _, err in error.value.unsent} == {DatabaseUnreachableError}
    assert found("default", 2) == ids(error.value.sent)


def test_the_deadline_is_for_each_window(messages, broker, patience, monkeypatch, found):
    """With one deadline for all, a million messages could not be sent."""
    monkeypatch.setattr("workshed.transport.publishing.sender.WINDOW", 10)
    patience(2)
    send = broker._publisher._send

    def slow(publication):
        time.sleep(0.02)
        send(publication)

    monkeypatch.setattr(broker._publisher, "_send", slow)
    broker._sender.has_fallback = False

    sent = broker.enqueue_many(messages(150))  # 3 s

    assert found("default", 150) == ids(sent)


def test_a_message_that_was_already_stored_spoils_no_other(greet, actor, broker, rows):
    mail = actor(queue_name="emails", actor_name="mail")(lambda number: None)
    mails = [mail.message(n) for n in range(3)]
    with db.transaction() as conn:
        broker.store(conn, mails[1], delay=timedelta(), at=None, reason="transactional")

    with pytest.raises(PartialSendError) as error:
        broker.enqueue_many(mails)

    assert error.value.sent == [mails[0], mails[2]]


def test_an_interrupted_sender_sends_nothing_more(
    messages, broker, stuck, count_jobs, peek, monkeypatch, eventually
):
    async def interrupted(*_):
        raise KeyboardInterrupt

    with stuck():
        with monkeypatch.context() as patch:
            patch.setattr(broker._publisher, "await_confirms", interrupted)
            with pytest.raises(KeyboardInterrupt):
                broker.enqueue_many(messages(700))
        eventually(lambda: not broker._publisher._waiting)

    [last] = broker.enqueue_many(messages(1))
    eventually(lambda: count_jobs("default")[0] == 2)
    assert peek("default")[1].message_id == last.message_id
