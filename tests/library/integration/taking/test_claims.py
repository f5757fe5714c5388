"""Who has a row: exactly one worker, for as long as it is alive."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest

from workshed import db, schedule
from workshed.jobs.control import workers
from workshed.jobs.control.workers import WorkerIdentity
from workshed.jobs.outbox import worker_claims
from workshed.jobs.outbox.worker_claims import QueueRoom, RowClaim
from workshed.transport.relay import keeper
from workshed.transport.taking import lease, table_inbox

ALL = [QueueRoom("default", 100, 0)]
LONG_SILENT = "UPDATE workshed.workers SET beat_at = beat_at - interval '11 s'"
LONG_CLAIMED = "UPDATE workshed.schedule SET claimed_at = claimed_at - interval '11 s'"


@pytest.fixture
def greet(actor):
    return actor(queue_name="default", actor_name="greet")(lambda number: None)


@pytest.fixture
def store(greet, broker):
    """`store(3)`: so many rows are due."""
    return lambda number: broker.enqueue_many(greet.message(n) for n in range(number))


@pytest.fixture
def worker(conn):
    """A worker that has just sent its heartbeat."""
    return living(conn)


def living(conn):
    identity = WorkerIdentity(uuid4(), "host", 1, 8, "")
    workers.record_heartbeat(conn, identity, 0, [])
    return identity.id


def claim_of(worker, row):
    return RowClaim(worker, row.message_id, row.generation, row.claimed_at)


def take(conn, worker, rooms=ALL):
    rows = worker_claims.claim_ready(conn, worker, rooms)
    return [claim_of(worker, row) for row in rows]


def test_two_workers_never_claim_the_same_row(store, conn, connect, worker):
    store(10)
    first = take(conn, worker, [QueueRoom("default", 6, 0)])

    other = connect()
    second = take(other, living(other))  # the first one has not committed yet

    assert len(first) == 6
    assert len(second) == 4
    assert not {one.message_id for one in first} & {one.message_id for one in second}


def test_a_room_limits_each_queue(broker, actor, conn, worker):
    one = actor(queue_name="default", actor_name="one")(print)
    two = actor(queue_name="low", actor_name="two")(print)
    broker.enqueue_many([actor.message() for actor in (one, two) for _ in range(5)])

    rooms = [QueueRoom("default", 2, 0), QueueRoom("low", 3, 0)]
    rows = worker_claims.claim_ready(conn, worker, rooms)

    assert sorted(row.queue for row in rows) == ["default"] * 2 + ["low"] * 3


def test_the_rows_of_a_worker_without_a_heartbeat_are_released_and_marked(store, conn, worker):
    store(2)
    taken = take(conn, worker)
    conn.execute(LONG_CLAIMED)
    assert worker_claims.release_orphaned(conn) == 0  # it is alive

    conn.execute(LONG_SILENT)
    assert worker_claims.release_orphaned(conn) == 2
    again = worker_claims.claim_ready(conn, living(conn), ALL)

    assert [row.possible_duplicate for row in again] == [True, True]
    assert worker_claims.delete_ended(conn, taken) == 0
    assert not taken[0].end(conn)


def test_a_claim_that_was_lost_ends_no_later_claim_of_the_same_worker(store, conn, worker):
    """An ack that comes late would delete a row that this worker has claimed again, unrun."""
    store(1)
    [lost] = take(conn, worker)
    worker_claims.release_claimed(conn, [lost], started=True)
    conn.commit()
    [held] = take(conn, worker)
    conn.commit()

    assert worker_claims.delete_ended(conn, [lost]) == 0
    assert worker_claims.release_claimed(conn, [lost], started=False) == 0
    assert not lost.end(conn)
    assert lost.is_lost
    assert held.end(conn)
    assert not held.is_lost


@pytest.mark.parametrize("started", [False, True])
def test_only_a_released_job_that_has_started_is_marked(started, store, conn, worker):
    store(1)
    held = take(conn, worker)

    assert worker_claims.release_claimed(conn, held, started=started) == 1

    [row] = worker_claims.claim_ready(conn, worker, ALL)
    assert row.possible_duplicate is started


def test_what_a_worker_does_not_know_it_holds_is_released(store, conn, worker):
    """The answer to a claim was lost; its worker lives, so that no other would take the rows."""
    store(3)
    held = take(conn, worker)

    assert worker_claims.release_forgotten(conn, worker, held[:1]) == 2

    assert len(take(conn, living(conn))) == 2
    assert worker_claims.release_forgotten(conn, worker, []) == 1


def test_delayed_jobs_cost_a_claim_nothing(conn, worker):
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        SELECT gen_random_uuid(), 0, 'default', 'greet', '{}', 'delayed',
               workshed.now() + interval '1 day' + n * interval '1 ms'
          FROM generate_series(1, 20_000) AS n
    """
    conn.execute(query)
    worker_claims.reuse_plans(conn)

    pages = "SELECT pg_stat_get_xact_blocks_fetched('workshed.schedule_ready'::regclass)"
    before = conn.execute(pages).fetchone()[0]
    assert worker_claims.claim_ready(conn, worker, [QueueRoom("default", 500, 4)]) == []

    assert conn.execute(pages).fetchone()[0] - before <= 5 * 3  # levels, and the tree's height


def test_a_claim_is_planned_only_once(conn, worker):
    worker_claims.reuse_plans(conn)
    conn.prepare_threshold = 0

    for _ in range(8):
        worker_claims.claim_ready(conn, worker, ALL)

    query = """
        SELECT generic_plans, custom_plans
          FROM pg_prepared_statements
         WHERE statement LIKE '%claimed_by%'
    """
    assert conn.execute(query).fetchone() == (8, 0)


# A process that was silent


def test_a_job_whose_row_was_taken_meanwhile_writes_nothing(
    actor, working, rows, connect, eventually, counted
):
    """Its process was stopped for longer than its heartbeats may be late."""
    entered, go_on = threading.Event(), threading.Event()
    ran = []

    @actor(queue_name="default", once=True)
    def write(number):
        with db.transaction() as conn:
            schedule.send(conn, follow.message(number))
        entered.set()
        assert go_on.wait(60)

    @actor(queue_name="low")
    def follow(number):
        ran.append(number)

    message = write.send(1)
    with working("default", threads=1):
        assert entered.wait(60)
        other = "UPDATE workshed.schedule SET claimed_by = %s, claimed_at = now() RETURNING 1"
        rows(other, uuid4())
        go_on.set()
        labels = {"actor": "write", "queue": "default", "outcome": "duplicate"}
        eventually(lambda: counted("jobs_total", **labels))

    assert rows("SELECT message_id FROM workshed.schedule") == [(message.message_id,)]
    assert rows("SELECT 1 FROM workshed.once_keys") == []


def test_a_job_that_waited_while_its_process_was_silent_does_not_start(
    actor, working, rows, eventually
):
    entered, go_on = threading.Event(), threading.Event()
    ran = []

    @actor(queue_name="default")
    def wait(number):
        ran.append(number)
        entered.set()
        assert go_on.wait(60)

    wait.send(1)
    with working("default", threads=1) as worker:
        assert entered.wait(60)
        second = wait.send(2)
        inbox = worker.broker._consumption.inbox
        eventually(lambda: len(inbox._held) == 2)
        inbox._lease._ends_at = 0.0
        inbox.record_heartbeat = lambda *_: None  # none arrives any more
        go_on.set()
        free = """
            SELECT message_id, possible_duplicate FROM workshed.schedule WHERE claimed_by IS NULL
        """
        eventually(lambda: rows(free) == [(second.message_id, False)])
        del inbox.record_heartbeat

    assert ran == [1]


def test_after_an_outage_of_postgresql_others_get_the_time_to_send_a_heartbeat(
    store, conn, worker, monkeypatch
):
    """All processes were silent: the first one to connect would take the jobs of all others."""
    store(1)
    take(conn, worker)
    conn.execute(LONG_CLAIMED)
    conn.execute(LONG_SILENT)
    conn.commit()
    watch = keeper.ClaimWatch()

    watch(conn)
    held = "SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL"
    assert conn.execute(held).fetchone() == (1,)

    monkeypatch.setattr(keeper, "DEAD_AFTER", timedelta())
    watch(conn)
    assert conn.execute(held).fetchone() == (0,)


def test_a_lease_ends_without_heartbeats_and_never_begins_again(monkeypatch):
    now = time.monotonic()
    held = lease.LeasePeriod(uuid4(), now)
    assert held.is_open
    assert held.extend(now + 2)

    monkeypatch.setattr(time, "monotonic", lambda: now + 12.1)

    assert not held.is_open
    assert not held.extend(now + 12)
    assert not held.is_open


def test_an_inbox_that_was_silent_begins_another_lease():
    inbox, worker = table_inbox.TableInbox(), uuid4()
    inbox.record_heartbeat(worker, time.monotonic())
    first = inbox._lease
    inbox.record_heartbeat(worker, time.monotonic())
    assert inbox._lease is first

    first._ends_at = 0.0
    inbox.record_heartbeat(worker, time.monotonic())

    assert inbox._lease is not first
    assert inbox._lease.is_open
    assert not first.is_open
