"""`workshed adopt`: the messages of dramatiq's own broker become jobs, each once."""

import contextlib
import threading
from datetime import UTC, datetime
from urllib.parse import urlsplit

import dramatiq
import orjson
import pika
import pytest
from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import dq_name, xq_name

from tests.databases import sibling
from tests.management import management
from workshed import Unique, db
from workshed.console.adoption.adopter import Adopter
from workshed.console.adoption.storage import AdoptedMessage, AdoptionStore

QUEUE = "default"
WORDS = ("--until-idle", "3s", "--import", "json")
"""A module without actors, because those of the App would stay imported for other tests."""


@pytest.fixture
def old(servers, managed):
    """The management API of the virtual host in which dramatiq's queues are."""
    return managed(management(servers))


@pytest.fixture
def url(servers, old):
    """Where dramatiq's queues are."""
    return sibling(servers.broker_url, old.vhost)


@pytest.fixture
def stock(url):
    """dramatiq's broker, with its usual middleware."""
    found = RabbitmqBroker(url=url, confirm_delivery=True)
    found.declare_queue(QUEUE, ensure=True)
    yield found
    found.close()


@pytest.fixture
def make(actor):
    """An actor of that name here; nothing runs it."""

    def make(number, text=""):
        raise AssertionError

    return actor(queue_name=QUEUE)(make)


@pytest.fixture
def adopt(declared, url, eventually):
    """`adopt(2)`: move so many messages; returns how many had each fate."""

    def adopt(expected=1, *, with_dead=False):
        adopter = Adopter(url, [QUEUE], declared, with_dead=with_dead)
        with adopting(adopter):
            eventually(lambda: adopter.counts.total() >= expected)
        return dict(adopter.counts)

    return adopt


@contextlib.contextmanager
def adopting(adopter):
    """It moves messages in a thread until the block ends; yields the thread and its reports."""
    said = []
    thread = threading.Thread(target=adopter.run, args=(said.append,), daemon=True)
    thread.start()
    try:
        yield thread, said
    finally:
        adopter.stopped.set()
        thread.join(60)
    assert not thread.is_alive()


@pytest.fixture
def rows(connect):
    """`rows("schedule")`: the rows of a table, each as a dictionary."""
    conn = connect(autocommit=True)

    def rows(table, order="message_id"):
        found = conn.execute(f"SELECT * FROM workshed.{table} ORDER BY {order}")  # noqa: S608
        names = [column.name for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    return rows


def sent(stock, *args, delay=None, queue=QUEUE, name="make", **options):
    """Send a message as dramatiq does; return it."""
    return stock.enqueue(Message(queue, name, args, {}, options), delay=delay)


def body_of(row):
    return orjson.loads(row["body"])


def publish(url, body, queue=QUEUE):
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.basic_publish("", queue, body)


# What becomes of a message


def test_a_message_is_due_now_with_its_id_and_arguments(stock, make, adopt, rows, old):
    message = sent(stock, 7, "é", broker_priority=0)

    assert adopt() == {"ready": 1}

    [row] = rows("schedule")
    assert (row["message_id"], row["generation"]) == (message.message_id, 0)
    assert (row["queue"], row["actor"], row["reason"]) == (QUEUE, "make", "transactional")
    assert row["due_at"] <= datetime.now(UTC)
    body = body_of(row)
    assert (body["args"], body["message_timestamp"]) == ([7, "é"], message.message_timestamp)
    assert old.depth(QUEUE) == 0


def test_a_delayed_message_keeps_its_due_time(stock, make, adopt, rows):
    message = sent(stock, 7, delay=3_600_000)

    assert adopt() == {"delayed": 1}

    [row] = rows("schedule")
    due = datetime.fromtimestamp(message.options["eta"] / 1000, UTC)
    assert (row["message_id"], row["reason"], row["due_at"]) == (message.message_id, "delayed", due)
    assert body_of(row)["queue_name"] == QUEUE


def test_what_dramatiqs_worker_retries_and_buries_keeps_its_attempts_and_its_error(
    stock, make, adopt, rows, eventually, old
):
    """A real worker of dramatiq runs them first."""
    runs = []

    @dramatiq.actor(broker=stock, actor_name="make", queue_name=QUEUE)
    def failing(number):
        runs.append(number)
        raise ValueError(f"no {number}\nat all")

    worker = dramatiq.Worker(stock, worker_timeout=100, worker_threads=2)
    worker.start()
    retried = sent(stock, 1, max_retries=3, min_backoff=3_600_000, max_backoff=3_600_000)
    dead = sent(stock, 2, max_retries=1, min_backoff=1, max_backoff=1)
    eventually(lambda: sorted(runs) == [1, 2, 2])
    eventually(lambda: old.depth(xq_name(QUEUE)) == 1)
    worker.stop()

    assert adopt() == {"retried": 1}
    assert adopt(with_dead=True) == {"dead": 1}

    [row] = rows("schedule")
    assert (row["message_id"], row["reason"]) == (retried.message_id, "retry")
    assert (row["due_at"] - datetime.now(UTC)).total_seconds() > 1000
    options = body_of(row)["options"]
    assert (options["attempt"], options["max_retries"]) == (2, 3)
    assert not options.keys() & {"retries", "traceback", "eta", "requeue_timestamp"}
    [buried] = rows("dead")
    assert (buried["message_id"], buried["attempt"]) == (dead.message_id, 2)
    assert (buried["actor"], buried["error_class"]) == ("make", "ValueError")
    assert buried["reason"] == ("dead under dramatiq; an earlier attempt: ValueError: no 2\nat all")
    [attempt] = rows("attempts")
    assert "raise ValueError" in attempt["traceback"]


def test_a_dead_job_of_dramatiq_can_be_retried(stock, url, make, adopt, rows, workshed):
    message = sent(stock, 7, retries=3, traceback="Traceback …\nKeyError: 'x'")
    with taking(url) as (channel, method, _):
        channel.basic_reject(method.delivery_tag, requeue=False)
    assert adopt(with_dead=True) == {"dead": 1}

    assert workshed("dead", "retry", message.message_id).code == 0

    [row] = rows("schedule")
    assert body_of(row)["options"]["attempt"] == 1


def test_secret_arguments_are_hidden_in_the_error(stock, actor, url, adopt, rows):
    @actor(queue_name=QUEUE, redact=["pin"])
    def make(pin):
        raise AssertionError

    sent(stock, "4711", traceback="Traceback …\nValueError: no such pin: 4711")
    with taking(url) as (channel, method, _):
        channel.basic_reject(method.delivery_tag, requeue=False)

    assert adopt(with_dead=True) == {"dead": 1}

    [row], [attempt] = rows("dead"), rows("attempts")
    assert row["reason"].endswith("ValueError: no such pin: [redacted]")
    assert "4711" not in f"{attempt}"


def test_dead_messages_stay_unless_asked_for(stock, url, make, adopt, old, eventually):
    sent(stock, 7)
    with taking(url) as (channel, method, _):
        channel.basic_reject(method.delivery_tag, requeue=False)
    sent(stock, 8)

    assert adopt() == {"ready": 1}

    eventually(lambda: old.depth(xq_name(QUEUE)) == 1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"colour": "blue"}, "colour is not an option of a message"),
        ({"broker_priority": 9}, "the queue 'default' has no priorities"),
    ],
)
def test_what_cannot_run_here_is_a_dead_job_with_the_reason(
    stock, make, adopt, rows, options, reason
):
    message = sent(stock, 7, **options)

    assert adopt() == {"refused": 1}

    [row] = rows("dead")
    assert (row["message_id"], row["actor"]) == (message.message_id, "make")
    assert reason in row["reason"]


def test_wrong_arguments_are_a_dead_job_with_the_reason(stock, make, adopt, rows):
    sent(stock, 7, "a", "b")

    assert adopt() == {"refused": 1}

    assert "too many positional arguments" in rows("dead")[0]["reason"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"\x80", b"7", b"[]", b"{}", b'{"options": {"eta": "soon"}}'),
        b'{"options": {}, "message_timestamp": 7, "message_id": "%s"}' % (b"x" * 5_000),
        b'{"options": {}, "message_timestamp": 7, "args": %s}' % (b"[" * 3_000 + b"]" * 3_000),
    ],
    ids=["bytes", "number", "list", "empty", "eta", "long id", "deep"],
)
def test_what_is_no_message_of_dramatiq_is_kept_as_it_came(url, stock, adopt, rows, body):
    publish(url, body)

    assert adopt() == {"refused": 1}

    [row] = rows("dead")
    assert (row["actor"], bytes(row["body"])) == (None, body)


def test_a_job_of_an_actor_that_is_not_here_waits_for_a_worker_that_has_it(stock, adopt, rows):
    sent(stock, 7, name="of_another_program")

    assert adopt() == {"ready": 1}

    assert rows("schedule")[0]["actor"] == "of_another_program"


def test_a_unique_job_is_stored_once(stock, actor, adopt, rows):
    @actor(queue_name=QUEUE, unique=Unique())
    def make(number):
        raise AssertionError

    sent(stock, 7)
    sent(stock, 7)

    assert adopt(2) == {"ready": 1, "duplicate": 1}
    assert len(rows("unique_locks")) == 1


# Once


@contextlib.contextmanager
def taking(url):
    """Take a message and do not acknowledge it; in the end the connection is lost."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        method, _, body = channel.basic_get(QUEUE)
        yield channel, method, body


def test_a_message_that_is_stored_but_not_acknowledged_is_not_stored_again(
    stock, url, make, broker, adopt, rows, connect
):
    """As if the process were killed between the two; a relay has sent the job meanwhile."""
    sent(stock, 7)
    with taking(url) as (_, method, body):
        stored = AdoptedMessage(QUEUE, method.delivery_tag, body, method.redelivered)
        assert AdoptionStore(broker).store([stored]) == ["ready"]
    connect(autocommit=True).execute("DELETE FROM workshed.schedule")

    assert adopt() == {"duplicate": 1}

    assert rows("schedule") == []


def test_a_message_that_was_only_taken_is_stored(stock, url, make, adopt):
    sent(stock, 7)
    with taking(url):
        pass

    assert adopt() == {"ready": 1}


def test_an_application_that_sends_one_message_twice_gets_two_jobs(stock, make, adopt, rows):
    """With dramatiq it runs twice; that its second send is no redelivery tells the two apart."""
    message = sent(stock, 7)
    assert adopt() == {"ready": 1}
    stock.enqueue(message)
    stock.enqueue(message)

    assert adopt(2) == {"ready": 2}

    ids = [row["message_id"] for row in rows("schedule")]
    assert message.message_id in ids
    assert len(set(ids)) == 3


def test_one_that_postgresql_refuses_does_not_keep_the_others(stock, make, adopt, rows, connect):
    first, taken, last = (sent(stock, number) for number in (1, 2, 3))
    connect(autocommit=True).execute(
        "INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, due_at, reason)"
        " VALUES (%s, 0, 'default', 'make', '{}', now(), 'transactional')",
        (taken.message_id,),
    )

    assert adopt(3) == {"ready": 2, "refused": 1}

    assert {first.message_id, last.message_id} < {row["message_id"] for row in rows("schedule")}
    [row] = rows("dead")
    assert orjson.loads(bytes(row["body"]))["message_id"] == taken.message_id
    assert "schedule_key" in row["reason"]


def test_more_than_are_in_hand_at_once_are_moved(stock, make, adopt, rows):
    wanted = [sent(stock, number).message_id for number in range(1_200)]

    assert adopt(1_200) == {"ready": 1_200}

    assert {row["message_id"] for row in rows("schedule")} == {*wanted}


def test_it_ends_when_its_queues_are_deleted(stock, url, make, declared, eventually):
    """Its user does that once the last sender is gone."""
    with adopting(Adopter(url, [QUEUE], declared, with_dead=False)) as (thread, said):
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            for name in (QUEUE, dq_name(QUEUE)):
                eventually(lambda: count(channel, name))  # noqa: B023 -- called at once
                channel.queue_delete(name)
        eventually(lambda: not thread.is_alive())

    assert said == ["the queues were deleted"]


def count(channel, name):
    """Return how many consumers a queue has."""
    return channel.queue_declare(name, passive=True).method.consumer_count


# The command


def test_it_says_what_it_has_moved_and_records_it(stock, url, make, declared, workshed, rows):
    sent(stock, 1)
    sent(stock, 2, delay=60_000)

    done = workshed("adopt", url, QUEUE, *WORDS)

    assert done.out == ""
    assert done.err.splitlines()[1:] == ["2 messages: 1 ready, 1 delayed."]
    assert urlsplit(url).password not in done.err
    [entry] = rows("audit", order="id")
    assert (entry["action"], entry["count"]) == ("adopt", 2)


@pytest.mark.parametrize(
    ("change", "queue", "code", "said"),
    [
        (lambda url: url, "emails", 5, "has no queue 'emails', which dramatiq makes"),
        (lambda url: url, "nowhere", 2, "'nowhere' is not declared"),
        (lambda url: url.replace("amqp:", "http:"), QUEUE, 2, "must start with amqp://"),
        (lambda url: f"{url}-missing", QUEUE, 3, "no access to the virtual host"),
    ],
)
def test_what_cannot_be_meant_is_refused(stock, url, declared, workshed, change, queue, code, said):
    done = workshed("adopt", change(url), queue, *WORDS)

    assert done.code == code, done.err
    assert said in done.err


def test_it_does_not_take_from_the_queues_of_workshed(vhost, declared, workshed):
    """They would be moved in a circle."""
    done = workshed("adopt", vhost, QUEUE, *WORDS)

    assert done.code == 5
    assert "has no queue 'default.DQ', which dramatiq makes" in done.err


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_it_waits_until_dramatiqs_workers_are_gone(url, make, declared, eventually, kind):
    """After a kill one of them could get a message that is moved already, and run its job too."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        for name in (QUEUE, dq_name(QUEUE)):
            channel.queue_declare(name, durable=True, arguments={"x-queue-type": kind})
        channel.basic_publish("", QUEUE, Message(QUEUE, "make", (7,), {}, {}).encode())
        channel.basic_consume(QUEUE, print)
        adopter = Adopter(url, [QUEUE], declared, with_dead=False)
        with adopting(adopter) as (_, said):
            eventually(lambda: any("default has other consumers" in line for line in said))
            assert adopter.counts.total() == 0
            connection.close()
            eventually(lambda: adopter.counts.total() == 1)


def test_after_an_error_whose_commit_is_unknown_nothing_is_stored_twice(
    stock, url, make, declared, eventually, rows, monkeypatch
):
    """PostgreSQL stored the first batch, and its answer was lost."""
    store, failures = AdoptionStore.store, iter([db.errors.OperationalError("lost")])

    def lose_the_answer(self, taken):
        fates = store(self, taken)
        if error := next(failures, None):
            raise error
        return fates

    monkeypatch.setattr(AdoptionStore, "store", lose_the_answer)
    sent(stock, 7)
    adopter = Adopter(url, [QUEUE], declared, with_dead=False)

    with adopting(adopter) as (_, said):
        eventually(lambda: adopter.counts.total() == 1)

    assert (adopter.counts, len(rows("schedule"))) == ({"duplicate": 1}, 1)
    assert said == ["PostgreSQL: lost; trying again"]
