"""A classic queue confirms before it writes to disk: lost messages, and no others, are resent."""

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from workshed import db, schedule
from workshed.jobs.control import queues
from workshed.jobs.outbox import claims
from workshed.middleware import OutcomeMiddleware
from workshed.transport.amqp.accounts import build_accounts
from workshed.transport.errors import BrokerUnreachableError, UnseenQueueError
from workshed.transport.publishing.queue_depth import DepthFuture, QueueDepthClient, resolve_depth
from workshed.transport.relay import redelivery
from workshed.transport.relay.redelivery import ClassicQueueRedelivery
from workshed.transport.relay.relay import Relay

LATER = timedelta(minutes=10)
AT_ONCE = timedelta(seconds=-1)


@pytest.fixture(autouse=True)
def _patience(monkeypatch):
    """On a busy machine, wait for late answers."""
    monkeypatch.setattr(redelivery, "ANSWER_TIMEOUT_S", 60.0)


@pytest.fixture(autouse=True)
def _queues(broker):
    broker.ensure_queues({"default", "emails"})
    with db.transaction() as conn:
        queues.declare_queues(conn, {"emails": "classic"})


@pytest.fixture
def publisher(broker):
    found = QueueDepthClient(broker.urls, "relay")
    yield found
    found.close()


@pytest.fixture
def deliver(actor):
    return actor(queue_name="emails", actor_name="deliver")(lambda number: None)


@pytest.fixture
def relaying(broker, publisher, monkeypatch):
    """`relaying(LATER)`: a relay runs in a thread until the test ends."""
    monkeypatch.setattr(redelivery, "POLL_S", 0.05)
    stop, threads = threading.Event(), []

    def run(after):
        duties = [ClassicQueueRedelivery(publisher, broker.declared_queues, after)]
        relay = Relay(publisher, stop, declared=broker.declared_queues.values(), duties=duties)
        threads.append(threading.Thread(target=relay.run))
        threads[-1].start()

    yield run
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.fixture
def send(deliver, broker, publisher):
    """Store so many mails that are due now, and let a relay send all due rows."""

    def send(number):
        with db.transaction() as conn:
            for n in range(number):
                schedule.send(conn, deliver.message(n))
        relay_once(broker, publisher)

    return send


@pytest.fixture
def look(broker, publisher, connect):
    """`look(after)`: one look of the relay at the classic queues."""
    conn = connect(autocommit=True)
    return lambda after: ClassicQueueRedelivery(publisher, broker.declared_queues, after)(conn)


def relay_once(broker, publisher):
    """Run a relay until nothing more is due."""
    relay = Relay(publisher, threading.Event(), declared=broker.declared_queues.values())
    with db.connect() as conn:
        while relay._cycle(conn):
            pass


def states(rows):
    """Return how many rows are kept, how many of these are absent, and how many will be resent."""
    return rows("""
        SELECT count(*) FILTER (WHERE sent_at IS NOT NULL), count(seen_empty_at),
               count(*) FILTER (WHERE sent_at IS NULL AND possible_duplicate)
          FROM workshed.schedule
    """)[0]


@pytest.mark.fresh_vhost
def test_a_queue_reports_how_many_messages_no_consumer_has(publisher, send, rabbitmq, eventually):
    send(3)

    assert publisher.count_ready("emails", 5) == 3
    assert publisher.count_ready("default", 5) == 0
    assert publisher.count_ready("never made", 5) is None

    def owners():
        return [name.partition(" of ")[0] for name, _ in rabbitmq.connections()]

    eventually(lambda: owners() == ["relay"])  # over the connection that publishes


def test_a_backlog_of_an_hour_is_not_sent_twice(send, look, connect, rows, rabbitmq, eventually):
    """By age alone, mails that no worker has reached would be resent every ten minutes."""
    send(20)
    connect(autocommit=True).execute(
        "UPDATE workshed.schedule SET sent_at = sent_at - interval '1 hour'"
    )

    for _ in range(2):
        look(AT_ONCE)

    assert states(rows) == (20, 0, 0)
    eventually(lambda: rabbitmq.depth("emails") >= 20)
    eventually(lambda: rabbitmq.depth("emails") == 20)


def test_lost_messages_are_sent_again_once_and_marked(
    send, look, broker, publisher, rows, rabbitmq, eventually
):
    send(20)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/emails/contents")
    eventually(lambda: publisher.count_ready("emails", 5) == 0)

    look(LATER)
    assert states(rows) == (20, 20, 0)  # a worker may still have them
    look(AT_ONCE)
    assert states(rows) == (0, 0, 20)
    relay_once(broker, publisher)
    look(AT_ONCE)

    assert states(rows) == (20, 0, 0)
    found = eventually(lambda: rabbitmq.depth("emails") == 20 and rabbitmq.peek("emails"))
    assert {m["properties"]["headers"].get("possible_duplicate") for m in found} == {True}


def test_a_deleted_queue_is_made_again_and_refilled(
    send, look, broker, publisher, rows, rabbitmq, eventually
):
    """If its depth were unknown, its jobs would stay for ever."""
    send(20)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/emails")

    look(LATER)
    assert publisher.count_ready("emails", 5) == 0
    look(AT_ONCE)
    relay_once(broker, publisher)

    eventually(lambda: rabbitmq.depth("emails") == 20)
    assert rabbitmq.queues()["emails"]["arguments"]["x-max-priority"] == 4


@pytest.mark.fresh_vhost
def test_with_a_queue_that_is_gone_the_queues_of_known_actors_are_made_again(
    send, look, conn, connect, rabbitmq
):
    queues.declare_actors(connect(autocommit=True), [queues.KnownActor("clean", "low")])
    send(1)
    for name in ("emails", "default", "default.dead"):
        rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/{name}")

    look(LATER)

    assert rabbitmq.queues().keys() == {"emails", "emails.dead", "low", "low.dead"}


def test_a_queue_of_another_program_that_is_gone_counts_as_empty(
    send, look, rows, broker, rabbitmq, monkeypatch
):
    send(5)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/emails")
    monkeypatch.delitem(broker.declared_queues, "emails")

    look(LATER)

    assert states(rows) == (5, 5, 0)


def test_while_rabbitmq_is_away_nothing_is_absent(send, broker, connect, rows, monkeypatch):
    """Otherwise an outage of ten minutes would be followed by a copy of every mail."""
    monkeypatch.setattr(redelivery, "ANSWER_TIMEOUT_S", 0.1)
    send(5)
    away = QueueDepthClient(["amqp://127.0.0.1:9/"], "relay")

    for after in (LATER, AT_ONCE):
        ClassicQueueRedelivery(away, broker.declared_queues, after)(connect(autocommit=True))

    assert states(rows) == (5, 0, 0)
    away.close()


def test_while_rabbitmq_gives_no_answer_nothing_is_absent(send, look, publisher, rows, monkeypatch):
    """It does not answer over a connection that an alarm has blocked."""
    monkeypatch.setattr(redelivery, "ANSWER_TIMEOUT_S", 0.1)
    send(5)
    held = threading.Event()
    publisher._link.call_soon(held.wait)

    look(LATER)

    assert states(rows) == (5, 0, 0)
    held.set()


@pytest.mark.parametrize(
    ("code", "text", "gone"),
    [
        (404, "NOT_FOUND - no queue 'emails' in vhost '/'", True),
        (404, "NOT_FOUND - home node 'b@host' of durable queue 'emails' is down", False),
        (404, "NOT_FOUND - queue 'emails' in vhost '/' process is stopped by supervisor", False),
        (403, "ACCESS_REFUSED - to queue 'emails'", False),
    ],
)
def test_a_queue_that_is_away_or_not_visible_is_not_gone(code, text, gone):
    answer = DepthFuture()

    resolve_depth(answer, "emails", SimpleNamespace(reply_code=code, reply_text=text))

    if gone:
        assert answer.result() is None
    else:
        kind = UnseenQueueError if code == 403 else BrokerUnreachableError
        assert isinstance(answer.exception(), kind)


@pytest.fixture
def lose(send, rabbitmq, publisher, eventually):
    """Send five mails that RabbitMQ loses; the next look would resend them."""
    send(5)
    rabbitmq.ask("DELETE", f"queues/{rabbitmq.vhost}/emails/contents")
    eventually(lambda: rabbitmq.depth("emails") == 0)


@pytest.mark.usefixtures("lose")
def test_a_relay_with_its_own_account_notices_lost_messages(broker, limited, connect, rows):
    """From RabbitMQ 4.3 on it needs some right to each queue; without any it resends nothing."""
    [account] = [
        one for one in build_accounts(broker.declared_queues, {}, "a") if one.name == "a-relay"
    ]
    limited(account.write)
    publisher = QueueDepthClient(broker.urls, "relay")
    publisher.wait_until_writable(60)

    for after in (LATER, AT_ONCE):
        ClassicQueueRedelivery(publisher, broker.declared_queues, after)(connect(autocommit=True))
    publisher.close()

    assert states(rows) == (0, 0, 5)


@pytest.mark.usefixtures("lose")
def test_a_relay_that_may_not_see_a_queue_says_once_that_it_sends_nothing_again(
    broker, limited, connect, rows, rabbitmq, caplog, eventually
):
    """Accounts of earlier releases may not, from RabbitMQ 4.3 on; this was not logged."""
    limited("^workshed.jobs$")
    publisher = QueueDepthClient(broker.urls, "relay")
    publisher.wait_until_writable(60)
    duty, conn = (
        ClassicQueueRedelivery(publisher, broker.declared_queues, AT_ONCE),
        connect(autocommit=True),
    )
    may_not_see = rabbitmq.version() >= (4, 3)

    def said():
        duty(conn)  # on a busy machine RabbitMQ may not answer it in time
        return [one.message for one in caplog.records if "is not sent again" in one.message]

    eventually(said if may_not_see else lambda: said() or states(rows) == (0, 0, 5))
    found = said()
    publisher.close()

    if may_not_see:
        assert (len(found), states(rows)) == (1, (5, 0, 0))
        assert "'emails': this account may not see" in found[0]
        assert "Import the output of `workshed broker definitions`" in found[0]
    else:
        assert (found, states(rows)) == ([], (0, 0, 5))


def test_of_a_large_backlog_only_the_rows_sent_longest_ago_are_read(send, look, conn, rows):
    send(30)
    conn.execute("UPDATE workshed.schedule SET seen_empty_at = workshed.now()")

    resent = [claims.release_lost(conn, AT_ONCE, limit=20) for _ in range(3)]

    assert resent == [20, 10, 0]


def test_two_relays_do_not_resend_the_same_rows(send, connect, rows, eventually):
    """The second would resend the row of a copy that is already on its way."""
    send(5)
    first, second = connect(), connect()
    first.execute("UPDATE workshed.schedule SET seen_empty_at = workshed.now()")
    first.commit()
    counts = []
    waiting = threading.Thread(target=lambda: counts.append(claims.release_lost(second, AT_ONCE)))

    assert claims.release_lost(first, AT_ONCE) == 5
    waiting.start()
    eventually(lambda: rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
    first.commit()
    waiting.join()

    assert counts == [0]


def test_an_unreadable_mail_leaves_no_row(send, broker, publisher, deliver, rows):
    """Kept like a sent mail, it would be dead-lettered again every ten minutes."""
    with db.transaction() as conn:
        schedule.send(conn, deliver.message(1))
        conn.execute("UPDATE workshed.schedule SET body = 'nonsense'")

    relay_once(broker, publisher)

    assert rows("SELECT 1 FROM workshed.schedule") == []
    assert rows("SELECT queue FROM workshed.dead") == [("emails",)]


class Effect(OutcomeMiddleware):
    """Writes a row in the transaction of each outcome."""

    def handles(self, job, outcome):
        return True

    def on_outcome(self, conn, job, outcome):
        conn.execute("INSERT INTO effects VALUES (%s)", job.message.args)


@pytest.fixture
def elsewhere(broker, monkeypatch):
    """Run each copy as if in another process, which does not know that the job runs here."""
    monkeypatch.setattr(broker._execution.running_jobs, "add", lambda _: True)
    monkeypatch.setattr(broker._execution.running_jobs, "remove", lambda _: [])


@pytest.fixture
def effects(broker, connect, rows):
    """`effects()`: the number of each job, once for each effect it had."""
    connect(autocommit=True).execute("CREATE TABLE effects (number int)")
    effect = Effect()
    broker.add_middleware(effect)
    yield lambda: [number for (number,) in rows("SELECT number FROM effects")]
    broker.middleware.remove(effect)


def test_a_job_that_runs_for_long_gets_a_copy_which_is_dropped(
    actor, elsewhere, working, relaying, effects, rows, eventually, caplog
):
    """Without deduplication there would be an effect for every copy."""
    caplog.set_level("INFO")
    started, go_on = [], threading.Event()

    @actor(queue_name="emails")
    def take_long(number):
        started.append(number)
        assert go_on.wait(60)

    with db.transaction() as conn:
        schedule.send(conn, take_long.message(1))
    with working("emails"):
        relaying(timedelta(seconds=0.1))
        eventually(lambda: len(started) == 2)
        go_on.set()
        eventually(lambda: "duplicate" in caplog.text)

    assert effects() == [1]
    assert rows("SELECT 1 FROM workshed.schedule") == []
