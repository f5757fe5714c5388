"""`workshed broker drain`: the jobs of RabbitMQ become rows, and none is lost or runs twice."""

import subprocess
import sys
from uuid import uuid4

import dramatiq
import pika
import pytest

from tests import pages
from tests.processes import popen
from tests.transcripts import steps
from workshed.console.rabbitmq import drain
from workshed.console.rabbitmq.drain import DrainCounts
from workshed.jobs.control import workers
from workshed.jobs.control.workers import WorkerIdentity
from workshed.jobs.idempotency import completed_generations
from workshed.jobs.outbox import claims, relays
from workshed.transport.amqp import topology
from workshed.transport.messages.envelope import encode_message

pytestmark = pytest.mark.one_in(3)  # each test starts programs of its own

PAGE = "docs/without-rabbitmq.md"
DECLARED = pages.block(PAGE, "$ export WORKSHED_BROKER_URL=amqp:")
MOVED = pages.block(PAGE, "$ WORKSHED_BROKER_URL=amqp:")
BUSY = pages.block(PAGE, "$ workshed broker drain")
ROWS = """
    SELECT message_id, queue, reason, possible_duplicate, claimed_by IS NULL, sent_at IS NULL
      FROM workshed.schedule ORDER BY 1
"""


@pytest.fixture(autouse=True)
def _queues(broker):
    broker.ensure_queues({"default", "emails"})


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    return lambda query=ROWS, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def send(broker):
    """`send(3)`: so many jobs wait on RabbitMQ; returns their messages."""

    def send(number, queue="default"):
        made = [message(f"{queue}-{n:05}", queue) for n in range(number)]
        return broker.enqueue_many(made)

    return send


def message(name, queue="default"):
    return dramatiq.Message(queue, "greet", (1,), {}, {}, name, 1_700_000_000_000)


@pytest.fixture
def depth(broker):
    """`depth("default")`: how many messages are ready."""

    def depth(name):
        with topology.open_connection(broker.urls) as connection:
            channel = connection.channel()
            return channel.queue_declare(name, passive=True).method.message_count

    return depth


def test_jobs_become_rows_that_are_marked_as_possible_duplicates(workshed, send, rows, depth):
    """Without the mark, a copy that a killed command leaves would run as well."""
    send(2)
    send(1, "emails")

    done = workshed("broker", "drain")

    assert done.code == 0, done.err
    assert {"default  2", "emails  1"} <= {*done.lines}
    assert "3 jobs moved." in done.err
    moved = ("broker_down", True, True, True)
    assert rows() == [
        ("default-00000", "default", *moved),
        ("default-00001", "default", *moved),
        ("emails-00000", "emails", *moved),
    ]
    assert depth("default") == depth("emails") == 0


def test_the_page_shows_what_is_printed(workshed, send, broker):
    [(_, _), (declaring, queues)] = steps(DECLARED)
    [(moving, moved)] = steps(MOVED)
    [(refused, said)] = steps(BUSY)
    send(300)

    declared = workshed(*declaring.split()[1:])
    done = workshed(*moving.split()[2:])
    with topology.open_connection(broker.urls) as connection:
        connection.channel().basic_consume("default", lambda *_: None)
        busy = workshed(*refused.split()[1:])

    assert (declared.code, done.code, busy.code) == (0, 0, 1)
    assert {*queues.splitlines()} <= {*declared.lines}
    assert {*moved.splitlines()} <= {*done.lines, *done.err.splitlines()}
    assert {*said.splitlines()} <= {*busy.lines, *busy.err.splitlines()}


def test_json(workshed, send):
    send(2)

    done = workshed("broker", "drain", "--json")

    assert done.json[0].keys() == {
        *("queue", "stored", "dead", "released", "consumers", "left"),
    }
    assert {one["queue"]: one["stored"] for one in done.json}["default"] == 2


def test_while_a_worker_consumes_a_queue_it_exits_with_1(workshed, send, broker):
    with topology.open_connection(broker.urls) as connection:
        connection.channel().basic_consume("emails", lambda *_: None)

        done = workshed("broker", "drain")

    assert done.code == 1
    assert "emails: programs still use RabbitMQ" in done.err


def test_a_row_whose_relay_has_not_deleted_it_yet_stays(broker, conn, send, rows):
    """The relay has the confirm, and would delete the only record of the job."""
    [sent] = send(1)
    relay = uuid4()
    relays.record_relay(conn, relay, "host", 1)
    store(conn, sent)
    claimed = claims.claim_due(conn, relay, 10)
    conn.commit()

    drain.drain_queue(broker, conn, DrainCounts("default"))

    assert claims.delete_sent(conn, relay, claimed) == 0
    conn.commit()
    assert rows() == [("default-00000", "default", "broker_down", True, True, True)]


def test_a_row_that_a_worker_runs_stays_with_it(broker, conn, send, rows):
    """It has adopted the row of a relay that had published it."""
    [sent] = send(1)
    worker = WorkerIdentity(uuid4(), "host", 1, 8, "")
    workers.record_heartbeat(conn, worker, 1, [])
    store(conn, sent)
    claims.claim_due(conn, worker.id, 10)
    conn.commit()

    drain.drain_queue(broker, conn, DrainCounts("default"))

    assert rows("SELECT claimed_by FROM workshed.schedule") == [(worker.id,)]


def test_a_lease_is_kept_from_its_sender(broker, conn, send, rows):
    """The sender has the confirm, and would delete the only record of the job."""
    [sent] = send(1)
    store(conn, sent, "outbox_lease")

    drain.drain_queue(broker, conn, DrainCounts("default"))

    assert rows() == [("default-00000", "default", "broker_down", True, True, True)]


def test_rows_that_were_kept_until_their_outcome_are_due(broker, conn, rows):
    """RabbitMQ has lost them: a classic queue confirms messages before they are on disk."""
    store(conn, message("lost", "emails"))
    conn.execute("UPDATE workshed.schedule SET sent_at = workshed.now()")
    conn.commit()
    counts = DrainCounts("emails")

    drain.drain_queue(broker, conn, counts)

    assert counts.released == 1
    assert rows() == [("lost", "emails", "transactional", True, True, True)]


def test_unreadable_messages_and_those_of_a_dead_queue_are_dead(broker, conn, rows, depth):
    ended = message("ended")
    completed_generations.complete_generation(conn, "ended", 0)
    with topology.open_connection(broker.urls) as connection:
        channel = connection.channel()
        for queue, body in (
            ("default", b"{}"),
            ("default.dead", b"[]"),
            ("default.dead", encode_message(message("failed"))),
            ("default.dead", encode_message(ended)),
        ):
            channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
    counts = DrainCounts("default")

    drain.drain_queue(broker, conn, counts)

    assert (counts.stored, counts.dead, rows()) == (0, 4, [])
    found = rows("SELECT actor, reason FROM workshed.dead ORDER BY actor NULLS FIRST")
    assert [actor for actor, _ in found] == [None, None, "greet"]
    assert found[-1][1] == drain.DEAD_REASON
    assert depth("default") == depth("default.dead") == 0


def test_a_copy_whose_outcome_may_be_forgotten_is_dead(broker, conn, rows):
    """As a row, it would run: the age of a row says nothing about that of its copies."""
    headers = {"published_ms": 1_700_000_000_000, "possible_duplicate": True}
    with topology.open_connection(broker.urls) as connection:
        properties = pika.BasicProperties(delivery_mode=2, headers=headers)
        body = encode_message(message("old"))
        connection.channel().basic_publish("", "default", body, properties)

    drain.drain_queue(broker, conn, DrainCounts("default"))

    assert rows() == []
    [(reason,)] = rows("SELECT reason FROM workshed.dead")
    assert "whether it has already run is unknown" in reason


def test_killed_again_and_again_it_loses_no_job_and_stores_each_once(
    send, rows, depth, eventually, scale
):
    """Killed between the commit and the ack, it leaves a message that has a row already."""
    number = scale(20_000)
    sent = {one.message_id for one in send(number)}
    command = [sys.executable, "-m", "workshed", "broker", "drain"]
    kills = 0

    def stored():
        return rows("SELECT count(*) FROM workshed.schedule")[0][0]

    while stored() < number or depth("default"):
        enough = stored() + number // 8
        with popen(command, stdout=subprocess.DEVNULL) as process:
            eventually(
                lambda process=process, enough=enough: (
                    stored() > enough or process.poll() is not None
                )
            )
            kills += process.poll() is None
            process.kill()

    assert kills > 2
    assert {row[0] for row in rows()} == sent


def store(conn, sent, reason="transactional"):
    """Store the row of a message, as its sender does."""
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (%s, 0, %s, 'greet', %s, %s, workshed.now())
    """
    body = encode_message(sent).decode()
    conn.execute(query, (sent.message_id, sent.queue_name, body, reason))
    conn.commit()
