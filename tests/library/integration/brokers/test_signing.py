"""Signed messages on RabbitMQ: one that was not signed here is dead, and the next job runs."""

import asyncio
import json
from datetime import timedelta

import dramatiq
import pika
import pytest

from workshed import schedule
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead.dead_jobs import UnreadableJobError
from workshed.middleware import RetryOn
from workshed.transport.amqp import topology
from workshed.transport.amqp.arguments import EXCHANGE
from workshed.transport.messages.envelope import decode_message, message_properties
from workshed.transport.messages.signing import SIGNATURE_HEADER, Signing
from workshed.transport.publishing.publisher import ConfirmBatch

KEY, OLD, FOREIGN = "k" * 32, "o" * 32, "f" * 32


@pytest.fixture(autouse=True)
def _keys(monkeypatch):
    """The broker of each test signs, and accepts nothing unsigned."""
    monkeypatch.setenv("WORKSHED_SIGNING_KEYS", KEY)


@pytest.fixture
def use(broker):
    """`use(KEY, OLD)`: the senders and workers of this process use these keys from now on."""

    def use(*keys, required=True, sends=True, works=True):
        found = Signing(keys, required=required) if keys else None
        if sends:
            broker._publisher._signing = found
        if works:
            broker._consumer_connection.signing = broker.signing = found

    return use


@pytest.fixture
def runs(actor):
    """Actors that record their arguments, and fail once if `runs.fails` is set."""

    class Runs(list):
        fails = False

    found = Runs()

    @actor(queue_name="default", retry_on=RetryOn(OSError, wait=timedelta(milliseconds=1)))
    def note(number):
        if found.fails:
            found.fails = False
            raise OSError
        found.append(number)

    @actor(queue_name="emails")
    def letter(number):
        found.append(number)

    @actor(queue_name="default", once=True)
    def once(number):
        found.append(number)

    found.note, found.letter, found.once = note, letter, once
    return found


@pytest.fixture
def intruder(broker, eventually):
    """A person who may read and publish, but has no key: `intruder.takes()`, `.puts(…)`."""
    broker.ensure_queues({"default", "emails"})

    class Intruder:
        def takes(self, queue="default"):
            """Take the next message out of a queue; return its headers and its body."""
            _, properties, body = eventually(
                lambda: (found := channel.basic_get(queue, True))[0] and found
            )
            return properties.headers, body

        def puts(self, headers, body, queue="default"):
            """Publish a message with any headers."""
            properties = pika.BasicProperties(delivery_mode=2, headers=headers)
            channel.basic_publish(EXCHANGE, queue, body, properties)

    with topology.open_connection(broker.urls, 60) as connection:
        channel = connection.channel()
        channel.confirm_delivery()  # so that messages are published in order
        yield Intruder()


def other_arguments(headers, body):
    fields = json.loads(body)
    return headers, json.dumps({**fields, "args": [666]}).encode()


def another_generation(headers, body):
    fields = json.loads(body)
    return headers, json.dumps(
        {**fields, "options": {**fields["options"], "generation": 7}}
    ).encode()


def without(name):
    def strip(headers, body):
        return {key: value for key, value in headers.items() if key != name}, body

    return strip


def by_another_key(headers, body):
    signature = Signing([FOREIGN], required=True).sign("default", headers, body)
    return {**headers, SIGNATURE_HEADER: signature}, body


FORGERIES = [
    (without(SIGNATURE_HEADER), "signature: is missing"),
    (other_arguments, "signature: does not fit"),
    (another_generation, "signature: does not fit"),
    (without("possible_duplicate"), "signature: does not fit"),
    (without("outbox"), "signature: does not fit"),
    (without("published_ms"), "signature: does not fit"),
    (lambda headers, body: ({**headers, "published_ms": 2**41}, body), "signature: does not fit"),
    (by_another_key, "signature: was made with a key that is not in WORKSHED_SIGNING_KEYS"),
    (
        lambda headers, body: ({**headers, SIGNATURE_HEADER: ["x", {}]}, body),
        "signature: is not a signature of Workshed",
    ),
    (lambda headers, body: ({}, b"\xff"), "signature: is missing"),
]


def test_a_forgery_is_dead_and_the_next_good_job_runs(
    runs, working, publish, intruder, rows, counted, eventually
):
    """Without the check each forgery would run, be dropped, or run again, as its author likes."""
    publish(runs.note.message(1), outbox=True, possible_duplicate=True)
    headers, body = intruder.takes()
    forgeries = [change(headers, body) for change, _ in FORGERIES]
    before = counted("unreadable_total", queue="default")

    for forged in forgeries:
        intruder.puts(*forged)
    with working("default"):
        runs.note.send(2)
        eventually(lambda: counted("unreadable_total", queue="default") - before == len(FORGERIES))
        eventually(lambda: runs == [2])

    assert runs == [2]
    found = rows("SELECT error_class, actor, body FROM workshed.dead")
    assert {(kind, actor) for kind, actor, _ in found} == {("SignatureError", None)}
    assert {bytes(body) for *_, body in found} == {body for _, body in forgeries}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_the_reason_says_what_is_wrong(runs, working, publish, intruder, rows, eventually, forgery):
    change, reason = forgery
    publish(runs.note.message(1), outbox=True, possible_duplicate=True)

    intruder.puts(*change(*intruder.takes()))
    with working("default"):
        [(said,)] = eventually(lambda: rows("SELECT reason FROM workshed.dead"))

    assert said.startswith(reason)
    assert runs == []


def test_a_signed_message_runs_in_its_own_queue_alone(runs, working, intruder, rows, eventually):
    """This includes one whose body was changed to name that queue."""
    runs.note.send(1)
    headers, body = intruder.takes()

    intruder.puts(headers, body, queue="emails")
    intruder.puts(
        headers, body.replace(b'"default"', b'"emails"').replace(b"note", b"letter"), "emails"
    )
    with working("emails"):
        said = eventually(lambda: len(got := rows("SELECT reason FROM workshed.dead")) == 2 and got)

    assert [reason.partition(":")[0] for (reason,) in said] == ["signature"] * 2
    assert runs == []


def test_a_job_is_signed_whatever_way_it_takes(
    runs, broker, working, connect, relaying, publish, rows, eventually
):
    """At once, many, from an event loop, in a transaction, later, to a classic queue, again."""
    with relaying(), working("default", "emails"):
        runs.note.send(1)
        broker.enqueue_many([runs.note.message(2), runs.letter.message(3)])
        asyncio.run(broker.send_async(runs.note.message(4)))
        with connect() as conn:
            schedule.send(conn, runs.note.message(5))
            conn.commit()
        runs.note.send_with_options(args=(6,), delay=10)
        runs.letter.send(7)
        publish(runs.note.message(8), possible_duplicate=True)
        eventually(lambda: sorted(runs) == list(range(1, 9)))
        runs.fails = True
        runs.note.send(9)
        eventually(lambda: 9 in runs)

    assert rows("SELECT reason FROM workshed.dead") == []


def test_a_message_that_is_sent_again_on_a_new_connection_is_signed_again(
    runs, broker, working, rows, intruder, eventually
):
    """The signature made before the mark `possible_duplicate` no longer fits."""
    broker.ensure_queues({"default"})
    ticket = ConfirmBatch()
    message = runs.note.message(1)
    sent = ticket.add("default", message.encode(), message_properties(message), unknown=False)
    broker._publisher.publish(ticket, 5)
    first, _ = intruder.takes()
    anew = ConfirmBatch()
    anew.add("default", message.encode(), sent.properties, unknown=True)
    broker._publisher.publish(anew, 5)

    with working("default"):
        eventually(lambda: runs == [1])

    assert "possible_duplicate" not in first
    assert rows("SELECT 1 FROM workshed.completed_generations") == [
        (1,)
    ]  # its consumer has checked for duplicates
    assert rows("SELECT reason FROM workshed.dead") == []


def test_a_replay_runs_again_unless_it_asks_whether_it_has_run(
    runs, working, publish, intruder, eventually
):
    """A signature proves who wrote a message, but not how often; see docs/security.md."""
    publish(runs.note.message(1), outbox=True)
    by_a_relay = intruder.takes()
    runs.note.send(2)
    plain = intruder.takes()
    runs.once.send(4)
    once = intruder.takes()

    with working("default", threads=1):
        for _ in range(3):
            intruder.puts(*by_a_relay)
            intruder.puts(*plain)
            intruder.puts(*once)
        runs.note.send(3)
        eventually(lambda: 3 in runs)

    assert sorted(runs) == [1, 2, 2, 2, 3, 4]


def test_an_old_replay_whose_outcome_may_be_forgotten_is_dead(
    runs, working, publish, intruder, rows, eventually
):
    """Its outcome was pruned; it would run with another `published_ms`, but that is signed."""
    publish(runs.note.message(1), outbox=True, published_ms=1_500_000_000_000)

    intruder.puts(*intruder.takes())
    with working("default"):
        [(actor, reason)] = eventually(lambda: rows("SELECT actor, reason FROM workshed.dead"))

    assert actor == "note"
    assert "whether it has already run is unknown" in reason


def test_what_is_dead_so_cannot_be_retried_only_looked_at_and_discarded(
    runs, working, intruder, connect, eventually
):
    """A relay would sign it on a retry; an operator vouches for it by sending it as a new job."""
    body = runs.note.message(1).encode()
    conn = connect(autocommit=True)

    intruder.puts({}, body)
    with working("default"):
        [found] = eventually(lambda: dead_jobs.list_dead_jobs(conn))

    assert found.message_id.startswith("unreadable:")
    assert bytes(found.body) == body
    with pytest.raises(UnreadableJobError, match="signature: is missing"):
        dead_jobs.retry_job(conn, found.message_id, decode_message)
    assert dead_jobs.discard_job(conn, found.message_id, "forged")


def test_while_keys_are_introduced_unsigned_messages_run_and_are_counted(
    runs, working, intruder, use, counted, rows, eventually
):
    use(KEY, required=False)
    before = counted("signature_problems_total", queue="default", problem="missing")

    intruder.puts({}, runs.note.message(1).encode())
    with working("default"):
        runs.note.send(2)
        eventually(lambda: sorted(runs) == [1, 2])

    assert counted("signature_problems_total", queue="default", problem="missing") - before == 1
    assert rows("SELECT 1 FROM workshed.dead") == []


def test_keys_are_introduced_and_replaced_and_no_message_is_turned_away(
    runs, working, use, rows, eventually
):
    """At each step some senders, or some workers, are already at the next one."""
    steps = [
        ((), {}),
        ((OLD,), {"required": False}),
        ((OLD,), {}),
        ((OLD, KEY), {}),
        ((KEY, OLD), {}),
        ((KEY,), {}),
    ]
    last = len(steps) - 1
    sent = 0
    with working("default"):
        for step in range(len(steps)):
            for senders, workers in ((step, min(step + 1, last)), (min(step + 1, last), step)):
                if steps[workers] == ((OLD,), {}) and not steps[senders][0]:
                    continue  # all senders must sign by then
                use(*steps[workers][0], **steps[workers][1], sends=False)
                use(*steps[senders][0], **steps[senders][1], works=False)
                sent += 1
                runs.note.send(sent)
                eventually(lambda: runs == list(range(1, sent + 1)))  # noqa: B023 -- asked at once

    assert rows("SELECT reason FROM workshed.dead") == []


def test_without_keys_nothing_is_signed_or_checked(
    runs, working, use, publish, intruder, eventually
):
    use()

    publish(runs.note.message(1))
    headers, body = intruder.takes()
    intruder.puts({**headers, SIGNATURE_HEADER: "whatever"}, body)
    intruder.puts({}, dramatiq.Message("default", "note", (2,), {}, {}).encode())
    with working("default"):
        eventually(lambda: sorted(runs) == [1, 2])

    assert SIGNATURE_HEADER not in headers
