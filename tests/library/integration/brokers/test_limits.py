"""Limits of real workers: never exceeded, first come first served, and no slot is left over."""

import threading
from datetime import timedelta

import pytest

from workshed import db
from workshed.jobs import Discard, Snooze
from workshed.jobs.control import cancellations
from workshed.jobs.locks import limits, run_locks
from workshed.middleware import Limit, Unique
from workshed.middleware.concurrency import lease_renewal
from workshed.transport.relay.limit_waiters import wake_limit_waiters

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

SLOTS = "SELECT key, message_id FROM workshed.limit_slots"
WAITS = "SELECT message_id FROM workshed.limit_waiters ORDER BY seq"
SCHEDULED = "SELECT message_id FROM workshed.schedule"
DUE = "SELECT due_at - workshed.now() FROM workshed.schedule"


@pytest.fixture
def sync(actor):
    """`sync(Limit…)`: an actor with limits; `.ran` has its runs, `.most` the most at one time."""

    def declare(*rules, then=lambda number: None, name="sync", **options):
        together, lock = [], threading.Lock()

        @actor(queue_name="default", actor_name=name, limit=rules, **options)
        def sync(number):
            with lock:
                sync.ran.append(number)
                together.append(number)
                sync.most = max(sync.most, len(together))
            try:
                then(number)
            finally:
                with lock:
                    together.remove(number)

        sync.ran, sync.most = [], 0
        return sync

    return declare


@pytest.fixture
def none_left(rows, eventually):
    """Wait until no slot, no waiter and no row is left."""
    return lambda: eventually(lambda: (rows(SLOTS), rows(WAITS), rows(SCHEDULED)) == ([], [], []))


def test_no_more_than_the_limit_run_at_a_time_and_all_run(
    sync, working, relaying, none_left, eventually
):
    pause = threading.Event()
    job = sync(Limit.concurrent(2), then=lambda _: pause.wait(0.01))
    with working("default", threads=8), relaying():
        for number in range(40):
            job.send(number)
        eventually(lambda: len(job.ran) == 40)
        none_left()

    assert job.most == 2
    assert sorted(job.ran) == list(range(40))


def test_waiting_jobs_run_in_the_order_in_which_they_came(
    sync, gate, working, relaying, none_left, rows, eventually
):
    job = sync(Limit.concurrent(1), then=gate)
    with working("default", threads=4), relaying():
        job.send(0)
        gate.enter()
        for number in range(1, 10):
            job.send(number)
            eventually(lambda n=number: len(rows(WAITS)) == n)
        gate.open.set()
        none_left()

    assert job.ran == list(range(10))


@pytest.mark.parametrize("failure", [Discard("gone"), OSError("no"), Snooze(timedelta(hours=1))])
def test_a_slot_is_free_whatever_the_outcome_of_its_job(failure, sync, working, rows, eventually):
    def fail(number):
        if number == 1:
            raise failure

    job = sync(Limit.concurrent(1), then=fail)
    with working("default"):
        job.send(1)
        eventually(lambda: job.ran == [1] and rows(SLOTS) == [])
        job.send(2)
        eventually(lambda: job.ran == [1, 2] and rows(SLOTS) == [])


def test_a_job_over_its_limit_spends_no_attempt_and_is_counted(
    sync, gate, working, rows, counted, eventually
):
    before = counted("jobs_over_limit_total", actor="sync")
    job = sync(Limit.concurrent(1), then=gate)
    body = """
        SELECT body::json #>> '{options,attempt}', reason FROM workshed.schedule
         WHERE generation > 0
    """
    with working("default"):
        job.send(1)
        gate.enter()
        job.send(2)
        found = eventually(lambda: rows(body))
        gate.open.set()
        eventually(lambda: rows(SLOTS) == [])

    assert found == [("1", "snoozed")]
    assert counted("jobs_over_limit_total", actor="sync") == before + 1
    assert rows("SELECT 1 FROM workshed.attempts") == []


def hours_until_due(rows):
    return sorted(round(span / timedelta(hours=1), 1) for (span,) in rows(DUE))


def test_a_job_over_a_window_is_due_when_it_has_its_slot(sync, working, rows, eventually):
    job = sync(Limit.window(1, per=timedelta(hours=1)))
    with working("default"):
        for number in range(3):
            job.send(number)
        # With PostgreSQL alone a job that is still to be taken has a row too.
        eventually(lambda: hours_until_due(rows) == [1, 2])


def test_slots_are_renewed_while_their_job_runs(sync, gate, working, rows, monkeypatch, eventually):
    """Without renewal they are free after 30 s, and more jobs run than the limit allows."""
    monkeypatch.setattr(lease_renewal, "EVERY_S", 0.05)
    job = sync(Limit.concurrent(1), then=gate)
    query = "SELECT expires_at FROM workshed.limit_slots"
    with working("default"):
        job.send(1)
        gate.enter()
        [first] = rows(query)
        eventually(lambda: rows(query) != [first])
        gate.open.set()
        eventually(lambda: rows(query) == [])


def test_a_run_whose_slot_was_lost_keeps_its_outcome(
    sync, gate, working, rows, connect, caplog, eventually
):
    """Undoing it would not help, because the limited resource is elsewhere and was already used."""
    job = sync(Limit.concurrent(1), then=gate)
    with working("default"):
        job.send(1)
        gate.enter()
        connect(autocommit=True).execute("DELETE FROM workshed.limit_slots")
        gate.open.set()
        eventually(lambda: "ran without its slot of sync:concurrent" in caplog.text)

    assert rows(SCHEDULED) == []


def test_no_thread_renews_slots_if_no_actor_has_any(broker, sync, working, monkeypatch, eventually):
    [limits] = [one for one in broker.middleware if hasattr(one, "_limits_by_actor")]
    monkeypatch.setattr(limits, "_limits_by_actor", {})  # actors of other tests

    def renewing():
        return sum(thread.name == "renewal" for thread in threading.enumerate())

    eventually(lambda: renewing() == 0)  # threads of a worker that has stopped may still be ending
    sync(Limit.window(1, per=timedelta(hours=1)))
    with working("default"):
        assert renewing() == 1  # the renewal of run locks
    eventually(lambda: renewing() == 0)
    sync(Limit.concurrent(1), name="other")
    with working("default"):
        assert renewing() == 2


def test_a_job_that_is_cancelled_while_it_waits_lets_the_next_one_run(
    sync, gate, working, relaying, none_left, rows, eventually
):
    job = sync(Limit.concurrent(1), then=gate)
    with working("default"), relaying():
        job.send(1)
        gate.enter()
        second = job.send(2)
        eventually(lambda: len(rows(WAITS)) == 1)
        job.send(3)
        eventually(lambda: len(rows(WAITS)) == 2)
        with db.transaction() as conn:
            assert cancellations.cancel(conn, second.message_id) == "deleted"
        gate.open.set()
        none_left()

    assert job.ran == [1, 3]


def test_the_slot_of_a_worker_that_died_goes_to_a_waiting_job(
    sync, gate, working, relaying, connect, none_left, rows, eventually
):
    own = connect(autocommit=True)
    job = sync(Limit.concurrent(1))
    start = limits.JobStart("00000000-0000-0000-0000-00000000000a", "dead", "sync", "gone", 1)
    ask = limits.SlotRequest("sync:concurrent", "concurrent", 1)
    assert limits.acquire_slots(own, [ask], start) is None
    with working("default"), relaying():
        job.send(1)
        eventually(lambda: len(rows(WAITS)) == 1)
        own.execute("UPDATE workshed.limit_slots SET expires_at = workshed.now() - interval '1 ms'")
        wake_limit_waiters(own)
        eventually(lambda: job.ran == [1])
        own.execute("DELETE FROM workshed.limit_slots WHERE message_id = 'dead'")
        none_left()


def test_several_actors_share_one_limit(sync, gate, working, relaying, none_left, rows, eventually):
    limit = Limit.concurrent(1, name="api")
    first, second = sync(limit, then=gate), sync(limit, name="fetch")
    with working("default"), relaying():
        first.send(1)
        gate.enter()
        second.send(2)
        eventually(lambda: len(rows(WAITS)) == 1)
        assert second.ran == []
        gate.open.set()
        none_left()
    assert second.ran == [2]


def test_a_unique_job_that_waits_for_a_limit_keeps_its_key(
    sync, gate, working, relaying, none_left, rows, eventually
):
    job = sync(Limit.concurrent(1), then=gate, unique=Unique())
    with working("default"), relaying():
        job.send(1)
        gate.enter()
        second = job.send(2)
        eventually(lambda: len(rows(WAITS)) == 1)
        assert job.send(2).message_id == second.message_id
        gate.open.set()
        none_left()

    assert job.ran == [1, 2]
    assert rows("SELECT key FROM workshed.unique_locks") == []


def test_a_run_lock_and_a_slot_are_both_released(
    sync, gate, working, relaying, none_left, rows, monkeypatch, eventually
):
    """If a job that waits for a limit kept its run lock, it would hold up others with its key."""
    unique = Unique("while_executing", key=lambda number: number % 2)
    job = sync(Limit.concurrent(1), then=gate, unique=unique)
    with working("default", threads=4), relaying():
        job.send(1)
        gate.enter()
        job.send(2)
        eventually(lambda: len(rows(WAITS)) == 1)
        assert len(rows("SELECT 1 FROM workshed.run_locks")) == 1
        gate.open.set()
        none_left()

    assert job.ran == [1, 2]


def test_leases_of_slots_are_as_long_as_those_of_run_locks():
    assert limits.LEASE is run_locks.LEASE
