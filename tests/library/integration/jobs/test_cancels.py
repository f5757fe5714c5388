"""Cancelling by filter and by rule, and the check a worker makes before it reschedules a job."""

import threading
from datetime import UTC, datetime, timedelta

import dramatiq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.control.cancel_rules import BoundlessRuleError, JobFilter
from workshed.jobs.dead import dead_jobs
from workshed.jobs.locks import unique
from workshed.jobs.outbox import schedule
from workshed.jobs.outbox.schedule import OutboxRow
from workshed.jobs.tags import CancelTraits

LONG_AGO_MS = 1_700_000_000_000
LOCK = {"actor": "resize", "queue": "images"}


def message(message_id="m", *, actor="greet", queue="default", sent_ms=LONG_AGO_MS, **options):
    return dramatiq.Message(queue, actor, (), {}, options, message_id, sent_ms)


def traits(**changes):
    fields = {"actor": "greet", "queue": "default", "tags": ("a",), "sent_ms": LONG_AGO_MS}
    return CancelTraits(**{**fields, **changes})


@pytest.fixture
def store(conn):
    """`store("m", actor=…, tags=[…])`: store a waiting job."""

    def store(message_id, reason="delayed", **changes):
        made = message(message_id, **changes)
        body = made.encode().decode()
        row = OutboxRow(message_id, 0, made.queue_name, made.actor_name, body, reason)
        schedule.insert_row(conn, row, delay=timedelta(days=1))

    return store


# Filters


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        (JobFilter(), ["bulk", "greet", "new", "tagged"]),
        (JobFilter(actor="greet"), ["greet", "new", "tagged"]),
        (JobFilter(queue="bulk"), ["bulk"]),
        (JobFilter(tag="user-7"), ["tagged"]),
        (JobFilter(older_than=timedelta(hours=1)), ["bulk", "greet", "tagged"]),
        (JobFilter(actor="greet", queue="bulk"), []),
    ],
)
def test_a_filter_finds_matching_jobs(conn, store, filters, found):
    store("greet")
    store("tagged", tags=["x", "user-7"])
    store("bulk", actor="mail", queue="bulk")
    store("new", sent_ms=int(datetime.now(UTC).timestamp() * 1000))

    assert cancel_rules.list_waiting_ids(conn, filters) == found


def test_a_filter_reads_bodies_that_postgresql_cannot(conn, store):
    """With a NUL in an argument, a query that reads bodies as `jsonb`, or by `->>`, fails."""
    store("m", tags=["a"])
    conn.execute(r"""UPDATE workshed.schedule SET body = replace(body, '[]', '["\u0000"]')""")

    assert cancel_rules.list_waiting_ids(conn, JobFilter(tag="a")) == ["m"]


# Rules


def test_a_rule_must_name_something(conn):
    """A rule without a bound would cancel every job."""
    with pytest.raises(BoundlessRuleError):
        cancel_rules.create_rule(conn, JobFilter(older_than=timedelta(days=1)))


def test_a_rule_holds_until_it_is_ended_or_forgotten(conn):
    first, second = (
        cancel_rules.create_rule(conn, JobFilter(actor=name)) for name in ("greet", "wave")
    )

    assert cancel_rules.list_rules(conn) == [first, second]
    assert cancel_rules.delete_rule(conn, first.id)
    assert not cancel_rules.delete_rule(conn, first.id)
    assert cancel_rules.prune_rules(conn, timedelta(days=1), 10) == 0
    assert cancel_rules.prune_rules(conn, timedelta(seconds=-1), 10) == 1
    assert cancel_rules.list_rules(conn) == []


NAMES = st.sampled_from(["a", "b"])
SOME = st.none() | NAMES


@settings(suppress_health_check=list(HealthCheck))
@given(
    rule=st.builds(JobFilter, actor=SOME, queue=SOME, tag=SOME).filter(
        lambda filters: filters.is_bounded
    ),
    job=st.builds(
        CancelTraits,
        actor=NAMES,
        queue=NAMES,
        tags=st.lists(NAMES, unique=True).map(tuple),
        sent_ms=st.integers(-2, 2),
    ),
)
def test_python_and_postgresql_read_a_rule_alike(conn, rule, job):
    """Otherwise whether a job runs would depend on whether it has a copy."""
    made = cancel_rules.create_rule(conn, rule)
    at_ms = round(made.sent_before.timestamp() * 1000)
    job = CancelTraits(job.actor, job.queue, job.tags, at_ms + job.sent_ms)

    said = cancellations.cancel_reason(conn, "m", job)
    conn.rollback()

    assert (said == f"cancelled by rule {made.id}") == made.matches(job)


# What a worker checks before it reschedules a job


def test_a_cancelled_job_is_known_with_its_reason(conn):
    assert cancellations.cancel_reason(conn, "m", traits()) is None

    rule = cancel_rules.create_rule(conn, JobFilter(tag="a"))

    assert cancellations.cancel_reason(conn, "m", traits()) == f"cancelled by rule {rule.id}"
    cancellations.cancel(conn, "m")
    assert cancellations.cancel_reason(conn, "m", traits()) == "cancelled"


def test_a_cancel_and_the_retry_it_meets_never_miss_each_other(connect, store, conn):
    """Without the lock, the cancel sees no row and the retry no tombstone: the job waits, maybe for
    days, with its unique key, for a worker to discard it."""
    with connect() as operator, connect() as worker:
        assert cancellations.cancel(operator, "m") == "will be skipped"
        said = []
        asking = threading.Thread(
            target=lambda: said.append(cancellations.cancel_reason(worker, "m", traits())),
            daemon=True,
        )
        asking.start()
        asking.join(0.2)
        assert said == []

        operator.commit()
        asking.join(60)

    assert said == ["cancelled"]


def test_a_cancel_of_a_notified_job_says_so(conn):
    assert cancellations.cancel(conn, "m") == "will be skipped"

    cancellations.mark_notified(conn, ["m"])

    assert cancellations.list_notified(conn, ["m", "other"]) == {"m"}
    assert cancellations.cancel(conn, "m") == "asked to stop"


# Redrive


def test_a_rule_made_before_a_retry_does_not_match_the_retried_job(conn):
    """Compared by its original timestamp, it would match the rule for ever and never run again."""
    body = message().encode()
    dead_jobs.add_dead_job(
        conn,
        message_id="m",
        generation=0,
        attempt=1,
        queue="default",
        actor="greet",
        body=body,
        reason="failed once",
    )
    before = cancel_rules.create_rule(
        conn, JobFilter(actor="greet", older_than=timedelta(seconds=1))
    )

    dead_jobs.retry_job(conn, "m")

    [row] = schedule.list_scheduled(conn)
    options = dramatiq.Message.decode(row.body.encode()).options
    wanted = traits(sent_ms=options["redriven"])
    assert before.matches(traits())
    assert not before.matches(wanted)
    after = cancel_rules.create_rule(
        conn, JobFilter(actor="greet", older_than=timedelta(seconds=-1))
    )
    assert after.matches(wanted)


# Locks


def test_a_job_that_a_filter_cancels_frees_its_lock(conn, store):
    store("m")
    unique.acquire_key(conn, unique.KeyClaim("k", "m", 0, **LOCK))

    assert [
        cancellations.cancel(conn, one)
        for one in cancel_rules.list_waiting_ids(conn, JobFilter(actor="greet"))
    ] == ["deleted"]

    assert unique.get_unique_lock(conn, "k") is None
