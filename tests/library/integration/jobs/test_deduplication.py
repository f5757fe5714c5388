"""Deduplication as rows: each is claimed once, and only its holder frees it."""

import threading
from datetime import timedelta

import pytest
from psycopg import errors

from workshed.jobs.control import cancellations
from workshed.jobs.idempotency import completed_generations, once_keys, starts
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.jobs.tags import CancelTraits

TRAITS = CancelTraits("greet", "default", (), 0)


def claim(message_id, generation=0, **changes):
    return unique.KeyClaim("k", message_id, generation, "resize", "images", **changes)


def row(message_id="m", generation=0, reason="delayed", **changes):
    fields = {"queue": "default", "actor": "greet", "body": "{}", "reason": reason, **changes}
    return OutboxRow(message_id=message_id, generation=generation, **fields)


# Settled


def test_an_outcome_deletes_the_start_and_the_rows_of_its_generation(conn):
    schedule.insert_row(conn, row(generation=0))
    schedule.insert_row(conn, row(generation=1))
    starts.record_start(conn, "m", 0, isolated=False, host="here", pid=1)

    assert completed_generations.complete_generation(conn, "m", 0)

    assert [r.generation for r in schedule.list_scheduled(conn)] == [1]
    assert not starts.load_state(conn, "m", 0, TRAITS).started
    assert not completed_generations.complete_generation(conn, "m", 0)


def test_records_are_kept_while_their_message_has_a_row(conn):
    for message_id in ("waits", "gone"):
        completed_generations.complete_generation(conn, message_id, 0)
        once_keys.claim_key(conn, "charge", message_id, message_id)
    schedule.insert_row(conn, row("waits", 1))

    pruned = [
        prune(conn, timedelta(seconds=-1), 10)
        for prune in (completed_generations.prune_generations, once_keys.prune_once_keys)
    ]

    assert pruned == [1, 1]
    assert completed_generations.is_completed(conn, "waits", 0)
    assert not once_keys.claim_key(conn, "charge", "waits", "waits")


def test_a_key_outlives_the_time_that_its_job_has_waited(conn):
    """It was due after 31 days, and its row is deleted as soon as RabbitMQ has the job."""
    once_keys.claim_key(conn, "charge", "a", "waits")
    once_keys.claim_key(conn, "charge", "b", "gone")
    conn.execute("UPDATE workshed.once_keys SET done_at = workshed.now() - interval '29 days'")
    schedule.insert_row(conn, row("waits", 1))
    month = timedelta(days=30)

    once_keys.prune_once_keys(conn, month, 10)
    conn.execute("DELETE FROM workshed.schedule")
    conn.execute("UPDATE workshed.once_keys SET done_at = done_at - interval '2 days'")

    assert once_keys.prune_once_keys(conn, month, 10) == 1
    assert not once_keys.claim_key(conn, "charge", "a", "waits")
    assert once_keys.claim_key(conn, "charge", "b", "gone")


# Starts


def test_a_start_is_deleted_when_no_copy_of_its_job_may_run_any_more(conn):
    """If RabbitMQ lost the job, no outcome ever deletes the row."""
    starts.record_start(conn, "m", 0, isolated=False, host="here", pid=1)

    pruned = [starts.prune_starts(conn, timedelta(days=days), 10) for days in (1, -1)]

    assert pruned == [0, 1]


def test_only_isolated_starts_count(conn):
    for isolated in (False, False, True):
        starts.record_start(conn, "m", 0, isolated=isolated, host="here", pid=1)
        assert not starts.load_state(conn, "m", 0, TRAITS).is_poison

    starts.record_start(conn, "m", 0, isolated=True, host="here", pid=1)

    assert starts.load_state(conn, "m", 0, TRAITS).is_poison
    assert not starts.load_state(conn, "m", 1, TRAITS).started


# Unique


def test_a_key_is_held_by_one_message(conn):
    assert unique.acquire_key(conn, claim("a", 0)) == "a"
    assert unique.acquire_key(conn, claim("b", 0)) == "a"
    assert unique.acquire_key(conn, claim("a", 0)) == "a"


def test_a_copy_of_an_earlier_generation_frees_nothing(conn):
    """With only the message id as holder, the copy would free the lock of the retry."""
    unique.acquire_key(conn, claim("a", 0))
    unique.move_locks(conn, "a", 1)

    assert unique.release_locks(conn, "a", 0) == 0
    assert unique.release_locks(conn, "a", 1) == 1


def test_an_expired_lock_is_taken_over(conn):
    unique.acquire_key(conn, claim("a", 0, span=timedelta(seconds=-1)))

    assert unique.acquire_key(conn, claim("b", 0)) == "b"


def test_of_many_senders_at_once_one_wins(connect):
    winners, barrier = [], threading.Barrier(8)
    connections = [connect() for _ in range(8)]

    def send(number):
        barrier.wait()
        with connections[number] as conn:
            taken = unique.acquire_key(conn, claim(str(number)))
            winners.append((str(number), taken))

    threads = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({taken for _, taken in winners}) == 1
    assert sum(number == taken for number, taken in winners) == 1


def test_a_rollback_lets_the_next_one_have_the_key(connect):
    with connect() as first, connect() as second:
        unique.acquire_key(first, claim("a", 0))
        waiting = threading.Thread(
            target=lambda: found.append(unique.acquire_key(second, claim("b", 0)))
        )
        found: list[str] = []
        waiting.start()
        first.rollback()
        waiting.join()

        assert found == ["b"]


# Once


def test_an_effect_is_claimed_once_per_scope(conn):
    assert once_keys.claim_key(conn, "charge", "7", "a")
    assert not once_keys.claim_key(conn, "charge", "7", "b")
    assert once_keys.claim_key(conn, "refund", "7", "a")


# Cancel


def test_a_cancelled_waiting_message_is_deleted_and_its_locks_freed(conn):
    schedule.insert_row(conn, row(generation=2))
    unique.acquire_key(conn, claim("m", 2))

    assert cancellations.cancel(conn, "m") == "deleted"

    assert schedule.list_scheduled(conn) == []
    assert unique.get_unique_lock(conn, "k") is None
    assert starts.load_state(conn, "m", 2, TRAITS).is_completed


@pytest.mark.parametrize(
    "created", [{"reason": "outbox_lease"}, {"possible_duplicate": True}, None]
)
def test_a_message_that_rabbitmq_may_have_is_skipped_when_it_is_delivered(conn, created):
    if created is not None:
        schedule.insert_row(conn, row(**created))

    assert cancellations.cancel(conn, "m") == "will be skipped"

    past = starts.load_state(conn, "m", 0, TRAITS)
    assert (past.cancelled, past.is_completed) == (True, False)


def test_a_reader_misses_no_tombstone_of_a_long_transaction(connect):
    """With a watermark of time, a tombstone that commits late would never be read."""
    with connect() as slow, connect() as quick, connect() as reader:
        cancellations.cancel(slow, "slow")
        cancellations.cancel(quick, "quick")
        quick.commit()
        xmin, ids = cancellations.list_since(reader, 0)
        assert list(ids) == ["quick"]
        reader.commit()
        slow.commit()

        _, ids = cancellations.list_since(reader, xmin)

        assert set(ids) == {"slow", "quick"}


def test_only_cancellations_of_messages_that_reached_rabbitmq_are_read(conn):
    schedule.insert_row(conn, row("waited"))
    cancellations.cancel(conn, "waited")
    cancellations.cancel(conn, "sent")

    _, ids = cancellations.list_since(conn, 0)

    assert list(ids) == ["sent"]
    assert cancellations.is_cancelled(conn, "waited")
    cancellations.clear_cancellation(conn, "waited")
    assert not cancellations.is_cancelled(conn, "waited")
    assert cancellations.prune_cancellations(conn, timedelta(seconds=-1), 10) == 1


# Several at once


def test_generations_that_end_together_each_release_what_they_have(conn):
    schedule.insert_row(conn, row("a", 1))
    schedule.insert_row(conn, row("a", 2))
    starts.record_start(conn, "a", 1, isolated=False, host="here", pid=1)
    for key, message_id in (("k1", "a"), ("k2", "a"), ("k3", "b"), ("k4", "later")):
        unique.acquire_key(conn, unique.KeyClaim(key, message_id, 0, "resize", "images"))

    ends = completed_generations.end_generations(conn, [("b", 0), ("a", 1), ("keyless", 0)])

    assert [(end.is_first, end.released_keys) for end in ends] == [(True, 1), (True, 2), (True, 0)]
    assert [r.generation for r in schedule.list_scheduled(conn)] == [2]
    assert not starts.load_state(conn, "a", 1, TRAITS).started
    assert [lock.key for lock in unique.list_unique_locks(conn)] == ["k4"]


def test_a_copy_that_ends_with_others_writes_nothing(conn):
    completed_generations.complete_generation(conn, "copied", 1)
    unique.acquire_key(conn, claim("copied", 1))

    ends = completed_generations.end_generations(conn, [("new", 0), ("copied", 1), ("copied ", 0)])

    assert [end.is_first for end in ends] == [True, False, True]
    assert unique.get_unique_lock(conn, "k") is not None


def test_jobs_that_end_together_do_not_wait_for_a_sender(connect):
    """A sender's transaction may hold the key of one of them for long; none of them is stored.

    Each is then stored alone, and only the one whose key it is waits.
    """
    conn, sender = connect(autocommit=True), connect()
    unique.acquire_key(conn, claim("held"))
    assert unique.acquire_key(sender, claim("new")) == "held"

    with pytest.raises(errors.LockNotAvailable):
        completed_generations.end_generations(conn, [("held", 0), ("free", 0)])

    assert completed_generations.complete_generation(conn, "free", 0)
    sender.rollback()
    (end,) = completed_generations.end_generations(conn, [("held", 0)])
    assert end.released_keys == 1
    assert conn.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_states_are_read_in_the_order_of_the_deliveries(conn):
    completed_generations.complete_generation(conn, "ended", 1)
    starts.record_start(conn, "started", 0, isolated=True, host="here", pid=1)
    tagged = CancelTraits("greet", "default", ("a tag", '"'), 0)

    states = starts.load_states(
        conn,
        [("ended", 1, TRAITS), ("started", 0, tagged), ("ended", 2, TRAITS), ("new", 0, TRAITS)],
    )

    assert [state.is_completed for state in states] == [True, False, False, False]
    assert [state.isolated_starts for state in states] == [0, 1, 0, 0]
    assert [state.started for state in states] == [False, True, False, False]
