"""What the nightly job deletes, and what it leaves."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from actors import maintain
from workshed.cron import daily
from workshed.jobs import attempts, batches, dead, occurrences, recurring, retention, schedule
from workshed.jobs.recurring import Declared
from workshed.settings import settings

NOW = datetime.now(UTC)


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def failed(conn):
    """`failed("a", days=100)`: an attempt that ended so long ago."""

    def failed(message_id, days):
        attempts.record(
            conn,
            message_id=message_id,
            hop=0,
            attempt=1,
            queue="low",
            actor="greet",
            outcome="retried",
            reason="no",
            error=attempts.described(None),
        )
        conn.execute(
            "UPDATE jobs.attempts SET ended_at = jobs.now() - %s WHERE message_id = %s",
            (timedelta(days=days), message_id),
        )
        conn.commit()

    return failed


@pytest.fixture
def died(conn):
    """`died("a", days=200)`: a job that died so long ago."""

    def died(message_id, days):
        names = {"queue": "low", "actor": "greet", "body": b"{}", "reason": "no"}
        dead.bury(conn, message_id=message_id, hop=0, attempt=1, **names)
        conn.execute(
            "UPDATE jobs.dead SET died_at = jobs.now() - %s WHERE message_id = %s",
            (timedelta(days=days), message_id),
        )
        conn.commit()

    return died


@pytest.fixture
def noted(conn):
    """A periodic job that a worker has."""
    recurring.declare(conn, [Declared("report", "low", daily("09:00"))])
    conn.commit()


@pytest.fixture
def ran(conn):
    """`ran(days=100)`: a run of it that was planned for so long ago."""

    def ran(days):
        occurrences.make(conn, "report", NOW - timedelta(days=days), "clock")
        conn.commit()

    return ran


def ages(rows):
    found = rows("SELECT planned FROM jobs.occurrences ORDER BY planned")
    return [(NOW - planned).days for (planned,) in found]


def test_the_dead_are_deleted_after_half_a_year(database, rows, died):
    died("old", days=181)
    died("young", days=179)

    retention.prune(settings())

    assert rows("SELECT message_id FROM jobs.dead") == [("young",)]


def test_attempts_of_jobs_that_ended_are_deleted_after_three_months(database, rows, failed):
    failed("old", days=91)
    failed("young", days=89)

    retention.prune(settings())

    assert rows("SELECT message_id FROM jobs.attempts") == [("young",)]


def test_attempts_of_jobs_that_wait_or_are_dead_are_kept(database, rows, conn, failed, died):
    """Else a dead job says that it failed, and not of what."""
    died("dead", days=100)
    schedule.insert(conn, schedule.Row("waiting", 1, "low", "greet", "{}", "retry"))
    failed("dead", days=100)
    failed("waiting", days=100)
    failed("gone", days=100)

    retention.prune(settings())

    assert rows("SELECT message_id FROM jobs.attempts ORDER BY 1") == [("dead",), ("waiting",)]


def test_old_runs_are_deleted_but_the_last_of_each_job(database, rows, noted, ran):
    for days in (400, 300, 200):
        ran(days)

    retention.prune(settings())

    assert ages(rows) == [200]


def test_runs_of_a_job_that_is_long_gone_are_deleted_with_it(database, rows, noted, ran):
    ran(200)
    rows("UPDATE jobs.recurring SET seen_at = jobs.now() - interval '91 days' RETURNING 1")

    retention.prune(settings())

    assert ages(rows) == []
    assert rows("SELECT 1 FROM jobs.recurring") == []


def test_runs_that_may_still_be_made_late_are_remembered(database, rows, noted, ran, monkeypatch):
    """Forgotten before its window ends, a run would be made again."""
    monkeypatch.setenv("WORKSHED_ATTEMPT_RETENTION", "60")
    settings.cache_clear()
    for days in (40, 20, 10):
        ran(days)

    retention.prune(settings())

    assert ages(rows) == [20, 10]


def test_batches_are_deleted_three_months_after_they_were_complete(
    database, rows, conn, died, monkeypatch
):
    """With all that is about them; one of which a job may still be retried is kept."""
    monkeypatch.setattr(retention, "BATCH", 2)
    ended = {"old": 91, "young": 89, "dead": 91, "again": 91, "open": None}
    for number, (name, days) in enumerate(ended.items()):
        batch = str(UUID(int=number))
        told = schedule.Row(f"told of {name}", 0, "low", "greet", "{}", "send")
        conn.execute(*batches.opening(batch, name, {"success": told}))
        conn.execute(*batches.joining(batch, [f"{name} {n}" for n in range(3)]))
        if days is not None:
            conn.execute(
                "UPDATE jobs.batches SET completed_at = jobs.now() - %s WHERE id = %s",
                (timedelta(days=days), batch),
            )
    conn.execute("UPDATE jobs.batch_jobs SET state = 'succeeded', ended_at = jobs.now()")
    conn.execute("UPDATE jobs.batch_jobs SET state = 'dead' WHERE message_id = 'dead 1'")
    conn.execute(
        "UPDATE jobs.batch_jobs SET state = 'pending', ended_at = NULL WHERE message_id = 'again 1'"
    )
    died("dead 1", days=91)

    retention.prune(settings())

    kept = [("again",), ("dead",), ("open",), ("young",)]
    assert rows("SELECT description FROM jobs.batches ORDER BY 1") == kept
    assert rows("SELECT count(*) FROM jobs.batch_callbacks") == [(4,)]
    assert rows("SELECT count(*) FROM jobs.batch_jobs") == [(12,)]


def test_much_is_deleted_in_small_transactions(database, rows, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 10)
    rows("""
        INSERT INTO jobs.dead (message_id, hop, attempt, queue, body, reason, died_at)
        SELECT n, 0, 1, 'low', '', 'no', jobs.now() - interval '1 year'
          FROM generate_series(1, 25) AS n
        RETURNING 1
    """)
    transactions = []
    begin = retention.db.transaction
    monkeypatch.setattr(retention.db, "transaction", lambda: transactions.append(1) or begin())

    deleted = retention.prune(settings())

    assert deleted["dead"] == 25
    assert len(transactions) == 3 + 5  # and one for each of the other tables


def test_the_nightly_job_does_all_this(database, rows, died, caplog):
    died("old", days=181)

    with caplog.at_level("INFO"):
        maintain()

    assert rows("SELECT 1 FROM jobs.dead") == []
    assert "deleted 1 dead, 0 attempts" in caplog.text
    assert str(maintain.options["periodic"]) == "daily 03:30"


def test_the_history_is_forgotten_by_whole_days(database, conn, rows):
    conn.execute(
        "CREATE TABLE jobs.runs_2026_01_31 PARTITION OF jobs.runs "
        "FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z')"
    )
    conn.commit()

    assert retention.prune(settings())["days of runs"] == 1
    assert rows("SELECT to_regclass('jobs.runs_2026_01_31')") == [(None,)]
    assert retention.prune(settings())["days of runs"] == 0


def test_a_history_that_is_read_holds_up_nothing(database, conn, rows, monkeypatch):
    """Without its time limit the drop waits for the reader, and everybody else for the drop."""
    conn.execute(
        "CREATE TABLE jobs.runs_2026_01_31 PARTITION OF jobs.runs "
        "FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z')"
    )
    conn.commit()
    conn.execute("SELECT count(*) FROM jobs.runs")  # and the transaction stays open

    assert retention.prune(settings())["days of runs"] == 0

    conn.rollback()
    assert retention.prune(settings())["days of runs"] == 1
