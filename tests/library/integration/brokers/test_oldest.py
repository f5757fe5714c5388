"""The age of the oldest waiting job of a queue: never underestimated, and soon exact again."""

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
    """Let workers beat at every look, and let looks wait long for RabbitMQ on a busy machine."""
    monkeypatch.setattr(heartbeat, "EVERY_S", 0.0)
    monkeypatch.setattr("workshed.transport.relay.queue_age.ANSWER_TIMEOUT_S", 60.0)


@pytest.fixture
def conn(connect):
    return connect(autocommit=True)


@pytest.fixture
def wire(proxy, servers):
    """A connection to RabbitMQ that only the look uses."""
    return proxy(servers.broker_url)


@pytest.fixture
def look(broker, conn, counted, wire):
    """`look()`: look once as a relay does; the age of `default` in seconds."""
    broker.ensure_queues({"default", "emails"})
    queues.declare_queues(conn, {"default": "quorum", "emails": "classic"})
    publisher = QueueDepthClient([wire.url(url) for url in broker.urls], "relay")
    publisher.wait_until_writable(10)
    found = QueueAgeEstimator(publisher)

    def once(queue="default"):
        found(conn)
        return counted("oldest_waiting_seconds", queue=queue)

    yield once
    publisher.close()


@pytest.fixture
def age(conn):
    """`age(3600)`: let so many seconds pass for what PostgreSQL knows of queues."""

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
    """Let a worker hold at most two deliveries."""
    monkeypatch.setattr(broker._lifecycle, "choose_prefetch", lambda *_: 2)


@pytest.fixture
def all_at_once(broker, monkeypatch):
    """Let a worker of one thread hold more than its usual two deliveries."""
    monkeypatch.setattr(broker._lifecycle, "choose_prefetch", lambda *_: 10)


def ago(seconds):
    """Return the header of a copy that was published so long ago."""
    return {"published_ms": int((time.time() - seconds) * 1000)}


def ready(rabbitmq, number, eventually):
    eventually(lambda: rabbitmq.depth("default") == number)


def passed(conn, queue="default"):
    query = "SELECT oldest_possible_publish_at FROM workshed.queues WHERE name = %s"
    return conn.execute(query, (queue,)).fetchone()[0]


def test_in_an_empty_queue_nothing_waits(look, age):
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


def test_a_restarted_relay_continues_from_there(
    look, age, hang, rabbitmq, conn, broker, eventually, counted
):
    """Kept in memory, the age would be lost, and the queue would seem to have just been empty."""
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    age(3600)
    publisher = QueueDepthClient(broker.urls, "relay")
    publisher.wait_until_writable(10)

    again = QueueAgeEstimator(publisher)
    eventually(lambda: again(conn) and counted("oldest_waiting_seconds", queue="default") >= 3600)
    publisher.close()


def test_ready_messages_and_consumers_are_counted(
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


def test_jobs_that_a_busy_worker_has_not_started_count_as_waiting(
    look, hang, all_at_once, working, publish, rabbitmq, eventually
):
    """RabbitMQ reports nothing as ready: prefetched jobs behind a long one would go unnoticed."""
    with working("default", threads=1):
        for number in range(3):
            publish(hang.message(number), **ago(600))
        eventually(lambda: rabbitmq.unacked("default") == 3)

        eventually(lambda: 600 <= look() < 660)
        hang.end.set()
        eventually(lambda: look() == 0)


def test_running_jobs_do_not_count_as_waiting(
    look, hang, working, publish, broker, conn, eventually
):
    with working("default", threads=1):
        publish(hang.message(), **ago(600))
        eventually(lambda: list(broker._execution.running_jobs))
        eventually(
            lambda: (
                conn.execute("SELECT busy, oldest_held FROM workshed.workers").fetchone()[0] == 1
            )
        )

        assert look() == 0
        hang.end.set()


def test_with_a_backlog_the_age_follows_the_deliveries(
    look, hang, working, publish, rabbitmq, age, one_by_one, eventually
):
    """If only empty queues counted, the age would grow while a backlog is worked off in order."""
    look()
    age(7200)
    for number in range(6):
        publish(hang.message(number), **ago(3600 - number))

    with working("default", threads=1):
        ready(rabbitmq, 4, eventually)
        eventually(lambda: 3590 <= look() < 3660)
        hang.end.set()
        eventually(lambda: look() == 0)


def test_jobs_that_a_paused_queue_gets_back_keep_their_age(
    look, hang, all_at_once, working, publish, rabbitmq, conn, eventually
):
    """Counted as done, deliveries would make the queue as young as the newest of them."""
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


def test_jobs_that_a_worker_requeues_when_it_ends_count_as_waiting(
    look, hang, all_at_once, working, publish, rabbitmq, broker, eventually
):
    with working("default", threads=1):
        for number, seconds in enumerate((3600, 3000, 5)):
            publish(hang.message(number), **ago(seconds))
        eventually(lambda: rabbitmq.unacked("default") == 3)
        eventually(lambda: look() >= 3000)
        stopping = broker._consumer_connection.stopping
        threading.Thread(target=lambda: stopping.wait(60) and hang.end.set()).start()

    ready(rabbitmq, 2, eventually)
    assert 3000 <= look() < 3660


def test_jobs_of_a_dead_worker_count_as_waiting(look, conn, hang, publish, rabbitmq, eventually):
    """They are at the head of their queue again, older than all messages delivered since."""
    look()
    publish(hang.message())
    ready(rabbitmq, 1, eventually)
    now = datetime.now(UTC)
    silent(conn, oldest_held=now - HOUR)

    assert 3600 <= look() < 3660
    assert conn.execute("SELECT expired_at IS NOT NULL FROM workshed.workers").fetchone() == (True,)


def test_a_delivery_before_a_requeue_proves_nothing(
    look, conn, hang, publish, rabbitmq, eventually
):
    """Workers beat one after the other: an old report would make requeued jobs look young."""
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
def test_jobs_requeued_by_a_lost_connection_count_as_waiting(
    look, hang, working, publish, rabbitmq, conn, eventually
):
    """RabbitMQ requeues all of them, including running jobs, and does not notify the worker."""
    with working("default", threads=1):
        for number, seconds in enumerate((3600, 3000, 5)):
            publish(hang.message(number), **ago(seconds))
        eventually(lambda: look() >= 3000)
        eventually(lambda: datetime.now(UTC) - passed(conn) < timedelta(minutes=1))

        eventually(lambda: rabbitmq.close_connections("consumer"))

        eventually(lambda: datetime.now(UTC) - passed(conn) >= HOUR)
        hang.end.set()


def test_a_queue_that_was_empty_before_a_requeue_does_not_count_as_empty(look, conn):
    look()
    news(conn, returned=datetime.now(UTC) - HOUR)

    workers.record_empty_queue(conn, "default", datetime.now(UTC) - timedelta(seconds=5))
    assert datetime.now(UTC) - passed(conn) >= HOUR

    assert look() == 0
    assert datetime.now(UTC) - passed(conn) < timedelta(minutes=1)


def test_a_sender_whose_clock_is_ahead_makes_no_job_young(
    look, conn, age, hang, rabbitmq, eventually
):
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    news(conn, got=datetime.now(UTC) + HOUR, got_ago=timedelta(minutes=5))

    assert passed(conn) < datetime.now(UTC)
    age(60)
    assert look() >= 60


def test_a_message_of_a_higher_priority_proves_nothing(
    look, actor, working, publish, rabbitmq, conn, eventually
):
    """It was delivered ahead of all others, which may have waited for an hour."""
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


def test_due_rows_that_are_not_sent_count_as_waiting(look, conn, hang):
    with db.transaction() as own:
        schedule.send(own, hang.message(1))
        schedule.send(own, hang.message(2), delay=HOUR)
    conn.execute("UPDATE workshed.schedule SET due_at = due_at - interval '10 minutes'")

    assert 600 <= look() < 660


def test_while_rabbitmq_is_away_its_jobs_keep_aging(
    look, age, hang, rabbitmq, eventually, counted, monkeypatch, wire
):
    look()
    hang.send()
    ready(rabbitmq, 1, eventually)
    look()
    monkeypatch.setattr("workshed.transport.relay.queue_age.ANSWER_TIMEOUT_S", 0.1)
    wire.stall("down")
    age(600)

    assert 600 <= look() < 660
    assert str(counted("queue_ready", queue="default")) == "nan"


def test_a_queue_that_does_not_exist_is_looked_for_once_a_minute(look, broker, conn, monkeypatch):
    """Each look for it is an error in the log of RabbitMQ."""
    asked = []
    depth = QueueDepthClient.fetch_depth

    def noted(publisher, queue, timeout_s):
        asked.append(queue)
        return depth(publisher, queue, timeout_s)

    monkeypatch.setattr(QueueDepthClient, "fetch_depth", noted)
    queues.declare_queues(conn, {"gone": "quorum"})

    assert [look("gone") for _ in range(3)] == [0, 0, 0]

    assert asked.count("default") == 3
    assert asked.count("gone") == 1


def test_a_worker_that_ends_is_deleted_and_a_silent_one_later(
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


def silent(conn, oldest_held=None):
    """Insert a worker that has not beaten for an hour."""
    conn.execute(
        """
        INSERT INTO workshed.workers
               (id, host, pid, threads, busy, release, beat_at, queues,
                oldest_waiting, oldest_held)
        VALUES (gen_random_uuid(), 'gone', 1, 8, 1, '', workshed.now() - interval '1 hour',
                '{default}', ARRAY[NULL::timestamptz], ARRAY[%s::timestamptz])
        """,
        (oldest_held,),
    )


def news(conn, got=None, got_ago=timedelta(), returned=None):
    workers.record_watermarks(
        conn, [workers.QueueReport("default", None, None, got, got_ago, returned)]
    )
