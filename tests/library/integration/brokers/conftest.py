"""Servers that are away, full or stuck, and helpers for tests of the broker."""

import contextlib
import socket
import threading
from datetime import timedelta

import pytest

from tests.library.integration.connection_kinds import KINDS
from workshed import db
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.settings import settings
from workshed.transport.messages.envelope import message_properties
from workshed.transport.publishing.publisher import ConfirmBatch
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.relay.keeper import Keeper
from workshed.transport.relay.relay import Relay, list_duties
from workshed.transport.taking import rejection

STATES = "SELECT message_id, reason, possible_duplicate, sent_at IS NOT NULL FROM workshed.schedule"
NOT_ON_BOTH = {
    "test_alarms": "the memory and disk alarms of RabbitMQ",
    "test_arguments": "the arguments of queues, and consumers of other versions",
    "test_cluster": "a cluster of RabbitMQ",
    "test_duties": "calls duties, and neither sends nor consumes",
    "test_engine_failover": "an engine of SQLAlchemy, without jobs",
    "test_failover": "several addresses of RabbitMQ",
    "test_io_thread": "the thread of an AMQP connection",
    "test_lateness": "measures periodic jobs, and neither sends nor consumes",
    "test_leases": "rows of messages that are published next",
    "test_network": "a network to RabbitMQ that fails",
    "test_network_consuming": "a network to RabbitMQ that fails",
    "test_network_relay": "a network to RabbitMQ that fails",
    "test_oldest": "estimates the age of queues whose messages cannot be listed",
    "test_queue_prefix": "the names of queues of RabbitMQ",
    "test_relay": "publishes rows",
    "test_resend": "classic queues, which may lose what they confirmed",
    "test_signing": "rows are not signed, because writing one needs rights to all data",
    "test_storing": "messages that RabbitMQ does not take",
    "test_tls": "TLS to RabbitMQ",
    "test_used_queues": "the queues that are made on RabbitMQ",
}
"""Modules that run with RabbitMQ only, and what they are about; all others have `ON_BOTH`."""


@pytest.fixture
def greet(actor):
    """An actor of the queue `default`."""
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def mail(actor):
    """An actor of the classic queue `emails`."""
    return actor(queue_name="emails", actor_name="mail")(lambda number: None)


@pytest.fixture
def send_one(greet):
    """Return a function that sends a job of which only one may be alive."""
    return lambda number=1, key="k", **options: greet.send_with_options(
        args=(number,), unique_key=key, **options
    )


@pytest.fixture
def states(rows):
    """Return a function that lists what is stored of each message, without its id."""
    return lambda: sorted(row[1:] for row in rows(STATES))


@pytest.fixture
def noted(actor):
    """`noted("emails")`: an actor on that queue, and the numbers of its runs."""

    def declare(queue):
        done = []
        return actor(queue_name=queue, actor_name="note")(done.append), done

    return declare


@pytest.fixture
def count_rejected(request, transport, rows):
    """`count_rejected("default")`: how many jobs of a queue ended without a stored outcome.

    They are in the dead queue of RabbitMQ, or, without it, in the dead table.
    """
    if transport == "postgresql":
        query = "SELECT count(*) FROM workshed.dead WHERE queue = %s AND reason = %s"
        return lambda queue: rows(query, queue, rejection.REASON)[0][0]
    rabbitmq = request.getfixturevalue("rabbitmq")
    return lambda queue: rabbitmq.depth(f"{queue}.dead")


@pytest.fixture
def patience(broker):
    """`patience(0.5)`: senders wait for RabbitMQ for so many seconds."""

    def wait(seconds):
        broker._sender.timeout = timedelta(seconds=seconds)

    return wait


@pytest.fixture
def not_storing(broker, transport):
    """`WORKSHED_OUTBOX_FALLBACK=false`; without RabbitMQ, there is no fallback."""
    if transport == "rabbitmq":
        broker._sender.has_fallback = False


@pytest.fixture
def away(broker):
    """`away(url)`: senders look for RabbitMQ there; by default nothing answers."""

    def look_at(url="amqp://ada:secret@127.0.0.1:9/shop"):
        broker.urls[:] = [url]

    return look_at


@pytest.fixture
def limited(broker, vhost, rabbitmq, away):
    """`limited("^workshed.jobs$")`: log this process in as a user with only this right to write.

    The queue `default` exists.
    """

    def limit(write):
        broker.ensure_queues({"default"})
        broker._declarer.clear()
        login = vhost.partition("://")[2].partition("@")[0]
        rabbitmq.ask("PUT", "users/sender", {"password": "pw", "tags": ""})
        rights = {"configure": "^$", "write": write, "read": "^$"}
        rabbitmq.ask("PUT", f"permissions/{rabbitmq.vhost}/sender", rights)
        away(vhost.replace(login, "sender:pw"))

    yield limit
    rabbitmq.ask("DELETE", "users/sender")


@pytest.fixture
def gone(broker, vhost, away, eventually):
    """`with gone():` this process has lost RabbitMQ, which no longer answers."""

    @contextlib.contextmanager
    def outage():
        away()
        link = broker._publisher._link
        link.call_soon(lambda: link._connection._transport._sock.shutdown(socket.SHUT_RDWR))
        eventually(broker._publisher.outage)
        yield
        away(vhost)

    return outage


@pytest.fixture
def stuck(broker, greet):
    """`with stuck():` this process has no channel, so that messages wait in it."""

    @contextlib.contextmanager
    def without():
        publisher = broker._publisher
        greet.send(0)
        channel, publisher._channel = publisher._channel, None
        yield
        publisher._channel = channel
        publisher._link.call_soon(publisher._pump)

    return without


@pytest.fixture
def unanswered(broker, greet):
    """No confirm arrives any more; the queues exist, so that patience is spent on confirms."""
    broker.ensure_queues({"default", "emails"})
    greet.send(0)
    broker._publisher._link.call_soon(broker._publisher._channel.callbacks.clear)


@pytest.fixture
def no_database(database, monkeypatch):
    """PostgreSQL does not answer; its pool gives up after half a second."""
    monkeypatch.setenv("WORKSHED_DATABASE_URL", "postgresql://ada:secret@127.0.0.1:9/shop")
    monkeypatch.setattr(db, "POOL_WAIT_S", 0.5)
    settings.cache_clear()
    db.forget_pool()


@pytest.fixture
def full(rabbitmq, eventually):
    """`full(100)`: queues accept no more than about so many messages."""

    def limit(number):
        rules = {"max-length": number, "overflow": "reject-publish"}
        policy = {"pattern": ".*", "definition": rules, "apply-to": "queues"}
        rabbitmq.ask("PUT", f"policies/{rabbitmq.vhost}/full", policy)
        eventually(
            lambda: all(queue.get("policy") == "full" for queue in rabbitmq.queues().values())
        )

    return limit


@pytest.fixture
def relaying(broker, transport):
    """`with relaying():` a relay runs in a thread, or what does its duties without RabbitMQ."""

    @contextlib.contextmanager
    def run():
        stop = threading.Event()
        if transport == "postgresql":
            keeper = Keeper(stop, broker.declared_queues.values(), list_duties())
            thread = threading.Thread(target=keeper.run)
            thread.start()
            yield
            stop.set()
            thread.join(60)
            return
        publisher = QueueDepthClient(broker.urls, "relay", broker.signing, broker.prefix)
        thread = threading.Thread(target=Relay(publisher, stop).run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(60)
            publisher.close()

    return run


@pytest.fixture
def blocked(alarm, broker, greet, eventually):
    """`with blocked():` RabbitMQ is short of memory, and this process knows it."""

    @contextlib.contextmanager
    def blocked():
        with alarm("memory"):
            broker._publisher.publish(ticket(greet.message(0)), 0.2)  # only publishers are notified
            eventually(lambda: broker._publisher._link.blocked_reason)
            yield
        eventually(lambda: not broker._publisher._link.blocked_reason)

    return blocked


def ticket(*messages, **headers):
    """Return a batch of messages as the publisher takes it."""
    made = ConfirmBatch()
    for message in messages:
        made.add(message.queue_name, message.encode(), message_properties(message, **headers))
    return made


def insert_copy(message, body, queue, headers):
    """Store a message that is due as another program might."""
    row = OutboxRow(
        message_id=message.message_id,
        generation=message.options.get("generation", 0),
        queue=queue or message.queue_name,
        actor=message.actor_name,
        body=(body or message.encode()).decode(),
        reason="transactional",
        possible_duplicate=headers.get("possible_duplicate", False),
    )
    with db.separate_transaction() as conn:
        schedule.insert_row(conn, row)


@pytest.fixture
def publish(broker, transport):
    """Publish a message as another program might: with these headers, or with any body."""

    def publish(message, body=None, queue=None, **headers):
        if transport == "postgresql":
            insert_copy(message, body, queue, headers)
            return
        ticket = ConfirmBatch()
        queue = queue or message.queue_name
        broker.ensure_queues({queue})
        ticket.add(queue, body or message.encode(), message_properties(message, **headers))
        broker._publisher.publish(ticket, 5)
        assert ticket.publications[0].error is None

    return publish


@pytest.fixture
def publish_twice(working, publish, eventually, counted):
    """`publish_twice(message, has_ended)`: run a job until it has, then a copy: a duplicate."""

    def publish_twice(message, has_ended):
        labels = {"actor": message.actor_name, "queue": "default", "outcome": "duplicate"}
        before = counted("jobs_total", **labels)
        with working("default", threads=1):
            publish(message)
            eventually(has_ended)
            publish(message, possible_duplicate=True)
            eventually(lambda: counted("jobs_total", **labels) == before + 1)

    return publish_twice


@pytest.fixture
def failing(connect):
    """`with failing("workshed.completed_generations"):` each write fails as in a deadlock.

    With `condition="NEW.reason = 'retry'"`, only those of such rows.
    """
    conn = connect(autocommit=True)
    conn.execute("""
        CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'fails on purpose' USING ERRCODE = '40001'; END $$
    """)

    @contextlib.contextmanager
    def failing(table, condition=None):
        which = "" if condition is None else f"FOR EACH ROW WHEN ({condition})"
        conn.execute(f"""
            CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} {which}
                EXECUTE FUNCTION public.fail()
        """)
        yield
        conn.execute(f"DROP TRIGGER fail ON {table}")

    return failing


@pytest.fixture
def gate():
    """A job that waits at it shows in `gate.entered`, and goes on after `gate.open`."""

    class Gate:
        def __init__(self):
            self.entered, self.open = threading.Semaphore(0), threading.Event()

        def __call__(self, _number):
            self.entered.release()
            assert self.open.wait(60)

        def enter(self):
            assert self.entered.acquire(timeout=90)

    found = Gate()
    yield found
    found.open.set()


@pytest.fixture
def shop(connect):
    """A table of the application; returns a function that counts its orders."""
    conn = connect(autocommit=True)
    conn.execute("CREATE SCHEMA store CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY)")
    return lambda: conn.execute("SELECT count(*) FROM store.orders").fetchone()[0]


@pytest.fixture(params=KINDS)
def begin(request, database, shop):
    """`with begin() as (conn, execute, wait):` a transaction of one kind, committed at its end."""
    return lambda *, commit=True: KINDS[request.param](database, commit=commit)
