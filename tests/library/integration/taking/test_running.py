"""Jobs that are rows run once, in order of priority, and their rows end with them."""

import threading

import pytest

from workshed import Limit, Queue, Unique, db, schedule
from workshed.errors import DuplicateJobError
from workshed.transport.errors import PartialSendError


@pytest.fixture
def ran():
    return []


@pytest.fixture
def note(actor, ran):
    @actor(queue_name="default", max_retries=0)
    def note(number):
        ran.append(number)

    return note


def test_a_job_runs_and_its_row_is_deleted(note, ran, working, scheduled, eventually):
    note.send(1)
    assert scheduled() == 1

    with working("default"):
        eventually(lambda: scheduled() == 0)

    assert ran == [1]


def test_a_thousand_jobs_run_once_each(broker, note, ran, working, scheduled, eventually):
    broker.enqueue_many(note.message(number) for number in range(1_000))

    with working("default", threads=4):
        eventually(lambda: scheduled() == 0)

    assert sorted(ran) == list(range(1_000))


def test_a_job_of_a_transaction_runs_once_that_has_committed(
    note, ran, working, scheduled, eventually
):
    with working("default"):
        with db.transaction() as conn:
            schedule.send(conn, note.message(1))
            note.send(2)
            eventually(lambda: 2 in ran)
            assert ran == [2]
        eventually(lambda: scheduled() == 0)

    assert ran == [2, 1]


def test_a_delayed_job_runs_when_it_is_due(note, ran, working, scheduled, rows, eventually):
    note.send_with_options(args=(1,), delay=3_600_000)

    with working("default"):
        note.send(2)
        eventually(lambda: scheduled() == 1)
        assert ran == [2]
        rows("UPDATE workshed.schedule SET due_at = workshed.now() RETURNING 1")
        eventually(lambda: scheduled() == 0)

    assert ran == [2, 1]


def test_a_failing_job_is_retried_and_then_dead(actor, ran, working, rows, eventually):
    @actor(queue_name="default", max_retries=1, min_backoff=1, max_backoff=1)
    def fail(number):
        ran.append(number)
        raise OSError("no")

    message = fail.send(1)

    with working("default"):
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))

    assert ran == [1, 1]
    assert rows("SELECT message_id, generation FROM workshed.dead") == [(message.message_id, 1)]
    assert rows("SELECT 1 FROM workshed.schedule") == []


def test_an_unreadable_row_is_dead_and_blocks_nothing(note, ran, working, rows, eventually):
    rows("""
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES ('bad', 0, 'default', 'note', '{"broker_priority" no', 'transactional', now())
        RETURNING 1
    """)
    note.send(1)

    with working("default"):
        eventually(lambda: rows("SELECT 1 FROM workshed.schedule") == [])

    assert ran == [1]
    assert rows("SELECT actor FROM workshed.dead") == [(None,)]


def test_a_unique_job_is_stored_once_and_its_key_ends_with_it(
    actor, ran, working, rows, scheduled, eventually
):
    @actor(queue_name="default", unique=Unique(key=["number"]))
    def once_only(number):
        ran.append(number)

    first, copy = once_only.send(1), once_only.send(1)
    assert copy.message_id == first.message_id

    with working("default"):
        eventually(lambda: scheduled() == 0)
        eventually(lambda: rows("SELECT 1 FROM workshed.unique_locks") == [])

    assert ran == [1]


def test_of_many_sends_those_whose_key_is_held_are_named(broker, actor, note, scheduled):
    @actor(queue_name="default", unique=Unique(key=["number"], on_conflict="raise"))
    def once_only(number):
        pass

    once_only.send(1)
    with pytest.raises(PartialSendError) as caught:
        broker.enqueue_many([note.message(1), once_only.message(1), once_only.message(2)])

    assert [one.args for one in caught.value.sent] == [(1,), (2,)]
    [(message, error)] = caught.value.unsent
    assert (message.args, type(error)) == ((1,), DuplicateJobError)
    assert scheduled() == 3


def test_an_actor_with_once_commits_its_writes_with_the_end_of_its_row(
    actor, working, rows, scheduled, eventually
):
    @actor(queue_name="default", once=True)
    def write(number):
        with db.transaction():
            pass
        assert rows("SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL") == [(1,)]

    write.send(1)

    with working("default"):
        eventually(lambda: scheduled() == 0)

    assert rows("SELECT count(*) FROM workshed.once_keys") == [(1,)]
    assert rows("SELECT 1 FROM workshed.dead") == []


def test_greater_priorities_run_first(broker, actor, ran, working, scheduled, eventually):
    broker.add_queue(Queue("levels", levels=9, prefetch=1))

    @actor(queue_name="levels")
    def note(number):
        ran.append(number)

    for number in (1, 9, 5, 0, 9):
        note.send_with_options(args=(number,), broker_priority=number)
    note.send(-1)

    with working("levels", threads=1):
        eventually(lambda: scheduled() == 0)

    assert ran == [9, 9, 5, 1, 0, -1]


def test_a_priority_above_the_levels_of_a_queue_counts_as_its_highest(
    note, ran, working, rows, scheduled, eventually
):
    """Another program may declare more levels; no claim would ever reach such a row."""
    note.send(1)
    rows("UPDATE workshed.schedule SET priority = 200 RETURNING 1")

    with working("default"):
        eventually(lambda: scheduled() == 0)

    assert ran == [1]


def test_a_paused_queue_keeps_its_rows(note, ran, working, rows, scheduled, eventually):
    pause = "UPDATE workshed.queues SET paused_at = {} WHERE name = 'default' RETURNING 1"

    with working("default"):
        rows(pause.format("workshed.now()"))
        eventually(lambda: note.broker._consumption.inbox.is_paused("default"))
        note.send(1)
        free = "SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NULL"
        eventually(lambda: rows(free) == [(1,)])
        assert ran == []
        rows(pause.format("NULL"))
        eventually(lambda: scheduled() == 0)

    assert ran == [1]


def test_a_waiting_job_that_is_cancelled_has_no_row_any_more(note, scheduled):
    message = note.send(1)

    with db.transaction() as conn:
        assert schedule.cancel(conn, message.message_id) == "deleted"

    assert scheduled() == 0


def test_jobs_over_a_limit_wait_as_rows(actor, ran, working, keeping, scheduled, eventually):
    running, most = [], []
    lock = threading.Lock()

    @actor(queue_name="default", limit=Limit.concurrent(1, name="one"))
    def slow(number):
        with lock:
            running.append(number)
            most.append(len(running))
        threading.Event().wait(0.05)
        with lock:
            running.remove(number)
        ran.append(number)

    for number in range(5):
        slow.send(number)

    with keeping(), working("default", threads=4):
        eventually(lambda: scheduled() == 0)

    assert sorted(ran) == list(range(5))
    assert max(most) == 1


def test_jobs_of_a_stopped_worker_go_back_unmarked(actor, working, rows, eventually):
    """They have not started: the next worker needs to look for no copy."""
    started, go_on = threading.Event(), threading.Event()

    @actor(queue_name="default")
    def wait(number):
        started.set()
        assert go_on.wait(60)

    for number in range(2):  # as many as a worker with one thread takes
        wait.send(number)

    with working("default", threads=1) as worker:
        assert started.wait(60)
        eventually(
            lambda: (
                rows("SELECT count(*) FROM workshed.schedule WHERE claimed_by IS NOT NULL")
                == [(2,)]
            )
        )
        worker.broker.emit_before("worker_shutdown", worker)
        eventually(
            lambda: (
                rows("""
                SELECT count(*) FROM workshed.schedule
                 WHERE claimed_by IS NULL AND NOT possible_duplicate""")
                == [(1,)]
            )
        )
        go_on.set()


def test_join_waits_and_flush_drops(broker, note, ran, working, scheduled, rows):
    note.send(1)
    with working("default") as worker:
        broker.join("default", timeout=60_000)
        worker.join()
    assert ran == [1]

    note.send(2)
    note.send_with_options(args=(3,), delay=60_000)
    assert broker.get_queue_message_counts("default") == (1, 1, 0)
    broker.flush("default")

    assert scheduled() == 0
