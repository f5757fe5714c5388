"""The schedule as rows: leases, kept rows, moves."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from workshed.jobs.control import queues
from workshed.jobs.outbox import claims, leases, relays, schedule
from workshed.jobs.outbox.schedule import OutboxRow

NOW = timedelta()
MAIL = {"queue": "emails", "actor": "deliver_email", "body": "{}"}


@pytest.fixture
def relay(conn):
    """A relay that lives; the queues are declared."""
    queues.declare_queues(conn, {"emails": "classic", "default": "quorum"})
    relay = uuid4()
    relays.record_relay(conn, relay, "here", 1)
    return relay


@pytest.fixture
def sent(conn, relay):
    """Two mails that RabbitMQ confirmed; they are kept."""
    schedule.insert_many(conn, [OutboxRow(m, 0, reason="transactional", **MAIL) for m in "ab"], NOW)
    taken = claims.claim_due(conn, relay, 10)
    assert claims.delete_sent(conn, relay, taken) == 2
    return taken


def states(conn):
    query = """
        SELECT message_id, sent_at IS NOT NULL, seen_empty_at IS NOT NULL, possible_duplicate
          FROM workshed.schedule ORDER BY message_id
    """
    return conn.execute(query).fetchall()


def test_a_confirm_that_is_not_on_disk_keeps_the_row(conn, relay, sent):
    schedule.insert_row(conn, OutboxRow("c", 0, "default", "greet", "{}", "transactional"))
    claims.delete_sent(conn, relay, claims.claim_due(conn, relay, 10))

    assert states(conn) == [("a", True, False, False), ("b", True, False, False)]
    assert schedule.list_scheduled(conn) == []  # no kept row waits
    assert claims.time_until_due(conn) is None
    assert claims.claim_due(conn, relay, 10) == []


def test_a_kept_row_is_sent_again_only_after_its_queue_was_empty(conn, relay, sent):
    claims.release_lost(conn, timedelta(seconds=-1))
    assert claims.claim_due(conn, relay, 10) == []  # a backlog of any age is not sent twice

    assert claims.list_kept_queues(conn) == ["emails"]
    assert claims.mark_seen_empty(conn, "emails", datetime.now(UTC) + timedelta(minutes=1)) == 2
    assert claims.release_lost(conn, timedelta(minutes=10)) == 0  # a worker may have it
    assert claims.release_lost(conn, timedelta(minutes=-10)) == 2

    assert [(t.message_id, t.possible_duplicate) for t in claims.claim_due(conn, relay, 10)] == [
        ("a", True),
        ("b", True),
    ]


def test_a_message_sent_after_the_check_is_not_absent(conn, relay, sent):
    assert claims.mark_seen_empty(conn, "emails", datetime.now(UTC) - timedelta(minutes=1)) == 0


def test_a_relay_claims_a_lease_only_after_its_sender_had_its_time(conn, relay):
    leases.insert_leases(
        conn, [OutboxRow("a", 0, reason="outbox_lease", **MAIL)], timedelta(seconds=10)
    )
    assert claims.claim_due(conn, relay, 10) == []

    conn.execute("UPDATE workshed.schedule SET due_at = workshed.now()")

    taken = claims.claim_due(conn, relay, 10)
    assert [(t.message_id, t.possible_duplicate) for t in taken] == [
        ("a", True)
    ]  # its sender may have published it


@pytest.mark.parametrize("unknown", [True, False])
def test_a_lease_given_up_is_due_at_once(conn, relay, unknown):
    leases.insert_leases(
        conn, [OutboxRow("a", 0, reason="outbox_lease", **MAIL)], timedelta(seconds=10)
    )

    assert leases.release_to_relay(conn, [("a", 0)], unknown=[unknown]) == 1

    assert [t.possible_duplicate for t in claims.claim_due(conn, relay, 10)] == [unknown]


def test_a_lease_ends_with_its_confirm(conn):
    rows = [OutboxRow(m, 0, reason="outbox_lease", **MAIL) for m in "ab"]
    leases.insert_leases(conn, rows, timedelta(seconds=10))

    assert leases.delete_leases(conn, [("a", 0)]) == 1
    assert leases.keep_until_outcome(conn, [("b", 0), ("c", 0)]) == 1

    assert states(conn) == [("b", True, False, False)]


def test_a_message_that_rabbitmq_may_have_is_marked(conn, relay):
    schedule.insert_many(conn, [OutboxRow(m, 0, reason="transactional", **MAIL) for m in "ab"], NOW)
    taken = claims.claim_due(conn, relay, 10)

    claims.release_rows(conn, relay, taken, NOW, unknown=[True, False])

    assert [row[3] for row in states(conn)] == [True, False]


def test_a_waiting_message_is_moved_and_run_now(conn, relay):
    when = datetime(2030, 1, 1, tzinfo=UTC)
    schedule.insert_row(conn, OutboxRow("a", 0, reason="delayed", **MAIL), delay=timedelta(days=3))

    assert schedule.move_job(conn, "a", when) == "moved"
    assert [r.due_at for r in schedule.list_scheduled(conn)] == [when]
    assert schedule.run_now(conn, "a") == "moved"
    claims.claim_due(conn, relay, 10)

    assert schedule.run_now(conn, "a") == "on its way"
    assert schedule.run_now(conn, "never sent") == "unknown"
    with pytest.raises(ValueError, match="time zone"):
        schedule.move_job(conn, "a", when.replace(tzinfo=None))


def test_immediate_jobs_are_due_again_after_the_clock_was_put_back(conn):
    """Rows that were moved by hand, or that wait for a reason, stay as they are."""
    hour = timedelta(hours=1)
    for name, reason in (
        ("a", "transactional"),
        ("b", "broker_down"),
        ("c", "transactional"),
        ("d", "retry"),
    ):
        schedule.insert_row(conn, OutboxRow(name, 0, reason=reason, **MAIL), delay=hour)
    schedule.move_job(conn, "c", datetime(2030, 1, 1, tzinfo=UTC))

    assert claims.make_due_now(conn) == 2

    late = conn.execute(
        "SELECT message_id FROM workshed.schedule WHERE due_at > workshed.now() ORDER BY 1"
    )
    assert late.fetchall() == [("c",), ("d",)]


def test_the_lag_is_that_of_the_oldest_due_row(conn, relay):
    assert claims.oldest_due_age(conn) == timedelta()
    hour = timedelta(hours=1)
    schedule.insert_row(conn, OutboxRow("a", 0, reason="delayed", **MAIL), delay=-hour)
    schedule.insert_row(conn, OutboxRow("b", 0, reason="delayed", **MAIL), delay=hour)

    assert hour <= claims.oldest_due_age(conn) < hour + timedelta(minutes=1)


def test_a_queue_is_paused_by_a_flag(conn, relay):
    assert queues.pause_queue(conn, "emails")
    assert not queues.pause_queue(conn, "email")
    assert queues.list_paused(conn) == {"emails"}

    queues.declare_queues(conn, {"emails": "classic"})
    assert queues.list_paused(conn) == {"emails"}
    assert queues.resume_queue(conn, "emails")
    assert [(q.name, q.paused_at) for q in queues.list_queues(conn)] == [
        ("default", None),
        ("emails", None),
    ]
