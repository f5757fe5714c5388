"""For how long the oldest job of a queue waits: never less than is told, and soon no more."""

import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from workshed import db, schedule
from workshed.jobs.control import queues, workers
from workshed.transport.publishing.queue_depth import QueueDepthClient
from workshed.transport.relay.queue_age import QueueAgeEstimator
from workshed.transport.worker import heartbeat

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Workers beat at every look, which waits for RabbitMQ for as long as a busy machine takes."""
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    monkeypatch.setattr("workshed.transport.relay.queue_age.ANSWER_S", 60.0)


@pytest.fixture
def conn(connect):
    return connect(autocommit=True)


@pytest.fixture
def wire(proxy, servers):
    """Leads to RabbitMQ for who looks, and for nobody else."""
    return proxy(servers.broker_url)


@pytest.fixture
def look(broker, conn, counted, wire):
    """`look()`: look once as a relay does; the age that is told of `default`, in seconds."""
    broker.ensure_queues({"default", "emails"})
    queues.declare_queues(conn, {"default": "quorum", "emails": "classic"})
    publisher = QueueDepthClient([wire.url(url) for url in broker.urls], "relay")
    publisher.ready(10)
    found = QueueAgeEstimator(publisher)

    def once(queue="default"):
        found(conn)
        return counted("oldest_waiting_seconds", queue=queue)

    yield once
    publisher.close()


@pytest.fixture
def age(conn):
    """`age(3600)`: let it be so many seconds later for what PostgreSQL knows of queues."""

    def older(seconds):
        query = (
            "UPDATE workshed.queues "
            "SET oldest_possible_publish_at = oldest_possible_publish_at - %s"
        )
        conn.execute(query, (timedelta(seconds=seconds),))

    return older


@pytest.fixture
def hang(actor):
    """An actor that holds its thread until `hang.end` is set."""
    end = threading.Event()

    @actor(queue_name="default", actor_name="hang", time_limit=60_000)
    def hang(number=0):
        end.wait(60)

    hang.end = end
    yield hang
    end.set()


@pytest.fixture
def one_by_one(broker, monkeypatch):
    """A worker holds two deliveries at most."""
    monkeypatch.setattr(broker._life, "prefetch", lambda *_: 2)


@pytest.fixture
def all_at_once(broker, monkeypatch):
    """A worker of one thread holds more than the two deliveries it would by itself."""
    monkeypatch.setattr(broker._life, "prefetch", lambda *_: 10)


def ago(seconds):
    """The header of a copy that was published so long ago."""
    return {"published_ms": int((time.time() - seconds) * 1000)}


def ready(rabbitmq, number, eventually):
    eventually(lambda: rabbitmq.depth("default") == number)


def passed(conn, queue="default"):
    query = "SELECT oldest_possible_publish_at FROM workshed.queues WHERE name = %s"
    return conn.execute(query, (queue,)).fetchone()[0]


def test_of_an_empty_queue_nothing_waits(look, age):
    age(3600)

    assert look() == 0


def test_without_a_worker_the_age_grows_from_when_it_was_last_seen_empty(
    look, age, hang, rabbitmq, eventually
):
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    assert look() < 60

    age(3600)

    assert 3600 <= look() < 3660


def test_a_relay_that_is_started_again_goes_on_from_there(
    look, age, hang, rabbitmq, conn, broker, eventually, counted
):
    """In memory it would be forgotten, and the queue seem to have been empty a moment ago."""
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    age(3600)
    publisher = QueueDepthClient(broker.urls, "relay")
    publisher.ready(10)

    again = QueueAgeEstimator(publisher)
    eventually(lambda: again(conn) and counted("oldest_waiting_seconds", queue="default") >= 3600)
    publisher.close()


def test_how_much_is_ready_and_who_consumes_is_told(
    look, hang, working, rabbitmq, eventually, counted
):
    hang.send()
    ready(rabbitmq, 1, eventually)
    look()
    assert counted("queue_ready", queue="default") == 1
    assert counted("queue_consumers", queue="default") == 0

    with working("default", threads=1):
        eventually(
            lambda: (
                [look(), counted("queue_consumers", queue="default")]
                and rabbitmq.depth("default") == 0
            )
        )
        look()
        assert counted("queue_ready", queue="default") == 0
        assert counted("queue_consumers", queue="default") == 1
        hang.end.set()


def test_what_a_busy_worker_holds_unstarted_waits(
    look, hang, all_at_once, working, publish, rabbitmq, eventually
):
    """RabbitMQ has nothing ready then: prefetched jobs behind a long one would wait unseen."""
    with working("default", threads=1):
        for number in range(3):
            publish(hang.message(number), **ago(600))
        eventually(lambda: rabbitmq.unacked("default") == 3)

        eventually(lambda: 600 <= look() < 660)
        hang.end.set()
        eventually(lambda: look() == 0)


def test_what_runs_does_not_wait(look, hang, working, publish, broker, conn, eventually):
    with working("default", threads=1):
        publish(hang.message(), **ago(600))
        eventually(lambda: list(broker._execution.running))
        eventually(
            lambda: (
                conn.execute("SELECT busy, oldest_held FROM workshed.workers").fetchone()[0] == 1
            )
        )

        assert look() == 0
        hang.end.set()


def test_with_a_backlog_the_age_follows_what_was_delivered(
    look, hang, working, publish, rabbitmq, age, one_by_one, eventually
):
    """Only empty queues known, an age would grow through a backlog that is worked off in order."""
    look()
    age(7200)
    for number in range(6):
        publish(hang.message(number), **ago(3600 - number))

    with working("default", threads=1):
        ready(rabbitmq, 4, eventually)
        eventually(lambda: 3590 <= look() < 3660)
        hang.end.set()
        eventually(lambda: look() == 0)


def test_what_a_paused_queue_gets_back_waits_for_as_long_as_it_does(
    look, hang, all_at_once, working, publish, rabbitmq, conn, eventually
):
    """It was delivered: taken for worked off, it would be as young as the newest that was."""
    with working("default", threads=1):
        publish(hang.message(1), **ago(3600))
        publish(hang.message(2), **ago(3000))
        publish(hang.message(3), **ago(5))
        eventually(lambda: rabbitmq.unacked("default") == 3)
        queues.pause_queue(conn, "default")
        ready(rabbitmq, 2, eventually)
        held = "SELECT oldest_waiting FROM workshed.workers"
        eventually(lambda: conn.execute(held).fetchone() == ([None],))

        assert 3000 <= look() < 3660
        hang.end.set()


def test_what_a_worker_gives_back_when_it_ends_waits(
    look, hang, all_at_once, working, publish, rabbitmq, broker, eventually
):
    with working("default", threads=1):
        for number, seconds in enumerate((3600, 3000, 5)):
            publish(hang.message(number), **ago(seconds))
        eventually(lambda: rabbitmq.unacked("default") == 3)
        eventually(lambda: look() >= 3000)
        stopping = broker._inbox.stopping
        threading.Thread(target=lambda: stopping.wait(60) and hang.end.set()).start()

    ready(rabbitmq, 2, eventually)
    assert 3000 <= look() < 3660


def test_what_a_dead_worker_held_waits(look, conn, hang, publish, rabbitmq, eventually):
    """Its deliveries are back at the head of their queue, older than all that it had passed."""
    look()
    publish(hang.message())
    ready(rabbitmq, 1, eventually)
    now = datetime.now(UTC)
    silent(conn, held=now - HOUR)

    assert 3600 <= look() < 3660
    assert conn.execute("SELECT expired_at IS NOT NULL FROM workshed.workers").fetchone() == (True,)


def test_what_came_before_something_went_back_proves_nothing(
    look, conn, hang, publish, rabbitmq, eventually
):
    """Workers beat one after the other: an old word would let what came back look young."""
    publish(hang.message())
    ready(rabbitmq, 1, eventually)
    now = datetime.now(UTC)
    back, came = now - HOUR, now - timedelta(minutes=1)
    news(conn, returned=back)

    news(conn, got=came, got_ago=timedelta(seconds=30))
    assert 3600 <= look() < 3660

    conn.execute(
        "UPDATE workshed.queues SET last_requeued_at = last_requeued_at - interval '1 minute'"
    )
    news(conn, got=came, got_ago=timedelta(seconds=30))
    assert 60 <= look() < 120


@pytest.mark.fresh_vhost
def test_what_a_lost_connection_gives_back_waits(
    look, hang, working, publish, rabbitmq, conn, eventually
):
    """RabbitMQ takes all of it back, what runs included, and says nothing to the worker."""
    with working("default", threads=1):
        for number, seconds in enumerate((3600, 3000, 5)):
            publish(hang.message(number), **ago(seconds))
        eventually(lambda: look() >= 3000)
        eventually(lambda: datetime.now(UTC) - passed(conn) < timedelta(minutes=1))

        eventually(lambda: rabbitmq.close_connections("consumer"))

        eventually(lambda: datetime.now(UTC) - passed(conn) >= HOUR)
        hang.end.set()


def test_a_queue_that_was_empty_before_something_went_back_is_not_taken_for_empty(look, conn):
    look()
    news(conn, returned=datetime.now(UTC) - HOUR)

    workers.seen_empty(conn, "default", datetime.now(UTC) - timedelta(seconds=5))
    assert datetime.now(UTC) - passed(conn) >= HOUR

    assert look() == 0
    assert datetime.now(UTC) - passed(conn) < timedelta(minutes=1)


def test_a_sender_whose_clock_is_ahead_makes_nothing_young(
    look, conn, age, hang, rabbitmq, eventually
):
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    news(conn, got=datetime.now(UTC) + HOUR, got_ago=timedelta(minutes=5))

    assert passed(conn) < datetime.now(UTC)
    age(60)
    assert look() >= 60


def test_a_message_of_a_higher_priority_is_no_proof(
    look, actor, working, publish, rabbitmq, conn, eventually
):
    """It came before all others, which may have waited for an hour."""
    ran = []
    job = actor(queue_name="emails", actor_name="urgent")(ran.append)
    look()
    conn.execute(
        "UPDATE workshed.queues "
        "SET oldest_possible_publish_at = oldest_possible_publish_at - interval '1 hour'"
    )
    before = passed(conn, "emails")

    with working("emails"):
        publish(job.message_with_options(args=(1,), broker_priority=4))
        beaten = "SELECT max(beat_at) FROM workshed.workers"
        eventually(lambda: ran == [1])
        before_beat = conn.execute(beaten).fetchone()
        eventually(lambda: conn.execute(beaten).fetchone() > before_beat)
        assert passed(conn, "emails") == before

        publish(job.message(2))
        eventually(lambda: passed(conn, "emails") > before)


def test_what_is_due_and_not_sent_waits(look, conn, hang):
    with db.transaction() as own:
        schedule.send(own, hang.message(1))
        schedule.send(own, hang.message(2), delay=HOUR)
    conn.execute("UPDATE workshed.schedule SET due_at = due_at - interval '10 minutes'")

    assert 600 <= look() < 660


def test_while_rabbitmq_is_away_what_was_there_goes_on_waiting(
    look, age, hang, rabbitmq, eventually, counted, monkeypatch, wire
):
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    look()
    monkeypatch.setattr("workshed.transport.relay.queue_age.ANSWER_S", 0.1)
    wire.stall("down")
    age(600)

    assert 600 <= look() < 660
    assert str(counted("queue_ready", queue="default")) == "nan"


def test_a_queue_that_is_not_there_is_asked_for_once_a_minute(look, broker, conn, monkeypatch):
    """Each question for one is an error in the log of RabbitMQ."""
    asked = []
    depth = QueueDepthClient.depth

    def noted(publisher, queue, timeout_s):
        asked.append(queue)
        return depth(publisher, queue, timeout_s)

    monkeypatch.setattr(QueueDepthClient, "depth", noted)
    queues.declare_queues(conn, {"gone": "quorum"})

    assert [look("gone") for _ in range(3)] == [0, 0, 0]

    assert asked.count("default") == 3
    assert asked.count("gone") == 1


def test_a_worker_that_ends_is_gone_and_a_silent_one_is_forgotten(
    hang, working, conn, broker, eventually
):
    with working("default"):
        eventually(
            lambda: (
                conn.execute("SELECT queues, threads FROM workshed.workers").fetchall()
                == [(["default"], 2)]
            )
        )

    assert conn.execute("SELECT count(*) FROM workshed.workers").fetchone() == (0,)
    silent(conn)
    assert workers.prune_workers(conn, timedelta(minutes=1)) == 0
    workers.expire_silent(conn)
    assert workers.prune_workers(conn, timedelta(minutes=1)) == 1


def silent(conn, held=None):
    """A worker that has not beaten for an hour."""
    conn.execute(
        """
        INSERT INTO workshed.workers
               (id, host, pid, threads, busy, release, beat_at, queues,
                oldest_waiting, oldest_held)
        VALUES (gen_random_uuid(), 'gone', 1, 8, 1, '', workshed.now() - interval '1 hour',
                '{default}', ARRAY[NULL::timestamptz], ARRAY[%s::timestamptz])
        """,
        (held,),
    )


def news(conn, got=None, got_ago=timedelta(), returned=None):
    workers.record_watermarks(
        conn, [workers.QueueReport("default", None, None, got, got_ago, returned)]
    )
