"""What relays delete, and what they keep."""

import dataclasses
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from workshed import db
from workshed.cronspec import daily
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts, runs
from workshed.jobs.maintenance import retention
from workshed.jobs.maintenance.retention import RetentionRule
from workshed.jobs.outbox import claims, schedule
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import PeriodicDeclaration
from workshed.settings import settings
from workshed.transport.relay import pruner
from workshed.transport.relay.background import BackgroundTasks
from workshed.transport.relay.pruner import EVERY_S, Pruner

NOW = datetime.now(UTC)


@pytest.fixture
def rows(connect):
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def failed(conn):
    """`failed("a", days=100)`: store an attempt that ended so long ago."""

    def failed(message_id, days):
        attempts.record_attempt(
            conn,
            message_id=message_id,
            generation=0,
            attempt=1,
            queue="low",
            actor="greet",
            outcome="retry",
            reason="no",
            error=attempts.describe_error(None),
        )
        conn.execute(
            "UPDATE workshed.attempts SET ended_at = workshed.now() - %s WHERE message_id = %s",
            (timedelta(days=days), message_id),
        )
        conn.commit()

    return failed


@pytest.fixture
def died(conn):
    """`died("a", days=200)`: store a job that died so long ago."""

    def died(message_id, days):
        names = {"queue": "low", "actor": "greet", "body": b"{}", "reason": "no"}
        dead_jobs.add_dead_job(conn, message_id=message_id, generation=0, attempt=1, **names)
        conn.execute(
            "UPDATE workshed.dead SET died_at = workshed.now() - %s WHERE message_id = %s",
            (timedelta(days=days), message_id),
        )
        conn.commit()

    return died


@pytest.fixture
def noted(conn):
    """A declared periodic job."""
    periodic_jobs.declare_jobs(conn, [PeriodicDeclaration("report", "low", daily("09:00"))])
    conn.commit()


@pytest.fixture
def ran(conn):
    """`ran(days=100)`: store a run of that job that was planned for so long ago."""

    def ran(days):
        periodic_runs.create_run(conn, "report", NOW - timedelta(days=days), "clock")
        conn.commit()

    return ran


def prune(**batches):
    """Prune as a relay does once an hour; return the number of batches."""
    rules = [
        dataclasses.replace(rule, batch=batches.get("batch", rule.batch))
        for rule in retention.retention_rules(settings())
    ]
    duty, turns = Pruner(rules), 1
    with db.connect() as conn:
        while duty(conn) != EVERY_S:
            turns += 1
    return turns


def ages(rows):
    found = rows("SELECT scheduled_for FROM workshed.periodic_runs ORDER BY scheduled_for")
    return [(NOW - scheduled_for).days for (scheduled_for,) in found]


def test_the_dead_are_deleted_after_half_a_year(database, rows, died):
    died("old", days=181)
    died("young", days=179)

    prune()

    assert rows("SELECT message_id FROM workshed.dead") == [("young",)]


def test_no_more_are_deleted_at_once_than_the_limit_says(conn, died):
    """PostgreSQL may choose a plan that runs a query with the limit again for each row."""
    for number in range(20):
        died(f"old {number}", days=181)
    for plan in ("hashagg", "hashjoin", "material", "mergejoin", "sort"):
        conn.execute(f"SET LOCAL enable_{plan} = off")

    assert dead_jobs.prune_dead_jobs(conn, timedelta(days=180), 5) == 5


def test_attempts_of_jobs_that_ended_are_deleted_after_three_months(database, rows, failed):
    failed("old", days=91)
    failed("young", days=89)

    prune()

    assert rows("SELECT message_id FROM workshed.attempts") == [("young",)]


def test_attempts_of_jobs_that_wait_or_are_dead_are_kept(database, rows, conn, failed, died):
    """Otherwise a dead job would show that it failed, but not why."""
    died("dead", days=100)
    schedule.insert_row(conn, schedule.OutboxRow("waiting", 1, "low", "greet", "{}", "retry"))
    failed("dead", days=100)
    failed("waiting", days=100)
    failed("gone", days=100)

    prune()

    assert rows("SELECT message_id FROM workshed.attempts ORDER BY 1") == [("dead",), ("waiting",)]


def test_old_runs_are_deleted_but_the_last_of_each_job(database, rows, noted, ran):
    for days in (400, 300, 200):
        ran(days)

    prune()

    assert ages(rows) == [200]


def test_runs_of_a_job_that_is_long_gone_are_deleted_with_it(database, rows, noted, ran):
    ran(200)
    rows(
        "UPDATE workshed.periodic_jobs "
        "SET seen_at = workshed.now() - interval '91 days' RETURNING 1"
    )

    prune()

    assert ages(rows) == []
    assert rows("SELECT 1 FROM workshed.periodic_jobs") == []


def test_runs_that_may_still_be_caught_up_are_kept(database, rows, noted, ran, monkeypatch):
    """If it were deleted before its window ends, a run would be made again."""
    monkeypatch.setenv("WORKSHED_ATTEMPT_RETENTION", "60")
    settings.cache_clear()
    for days in (40, 20, 10):
        ran(days)

    prune()

    assert ages(rows) == [20, 10]


def test_batches_are_deleted_three_months_after_they_were_complete(database, rows, conn, died):
    """Their rows in other tables go too; a batch with a job that may be retried is kept."""
    ended = {"old": 91, "young": 89, "dead": 91, "again": 91, "open": None}
    for number, (name, days) in enumerate(ended.items()):
        batch = str(UUID(int=number))
        callback = schedule.OutboxRow(
            f"callback of {name}", 0, "low", "greet", "{}", "transactional"
        )
        conn.execute(*batches.open_statement(batch, name, {"success": callback}))
        conn.execute(*batches.join_statement(batch, [f"{name} {n}" for n in range(3)]))
        if days is not None:
            conn.execute(
                "UPDATE workshed.batches SET completed_at = workshed.now() - %s WHERE id = %s",
                (timedelta(days=days), batch),
            )
    conn.execute("UPDATE workshed.batch_jobs SET state = 'succeeded', ended_at = workshed.now()")
    conn.execute("UPDATE workshed.batch_jobs SET state = 'dead' WHERE message_id = 'dead 1'")
    conn.execute(
        "UPDATE workshed.batch_jobs SET state = 'pending', ended_at = NULL "
        "WHERE message_id = 'again 1'"
    )
    died("dead 1", days=91)

    prune(batch=2)

    kept = [("again",), ("dead",), ("open",), ("young",)]
    assert rows("SELECT description FROM workshed.batches ORDER BY 1") == kept
    assert rows("SELECT count(*) FROM workshed.batch_callbacks") == [(4,)]
    assert rows("SELECT count(*) FROM workshed.batch_jobs") == [(12,)]


def dead_since(rows, count):
    rows(
        """
        INSERT INTO workshed.dead (message_id, generation, attempt, queue, body, reason, died_at)
        SELECT n, 0, 1, 'low', '', 'no', workshed.now() - interval '1 year'
          FROM generate_series(1, %s) AS n
        RETURNING 1
        """,
        count,
    )


def test_much_is_deleted_in_small_batches_each_committed_alone(database, rows, caplog):
    dead_since(rows, 25)
    left = []

    with db.connect() as conn, caplog.at_level("INFO"):
        duty = Pruner(
            [RetentionRule("dead jobs", dead_jobs.prune_dead_jobs, timedelta(days=180), 10)]
        )
        for wait in (pruner.PAUSE_S, pruner.PAUSE_S, EVERY_S):
            assert duty(conn) == wait
            left.append(rows("SELECT count(*) FROM workshed.dead")[0][0])

    assert left == [15, 5, 0]
    assert "deleted expired records: 25 dead jobs" in caplog.text


def test_other_duties_run_between_two_batches(database, rows, eventually):
    dead_since(rows, 25)
    turns = []

    def other(conn):
        turns.append(rows("SELECT count(*) FROM workshed.dead")[0][0])
        return 0.0

    rule = RetentionRule("dead jobs", dead_jobs.prune_dead_jobs, timedelta(days=180), 10)
    with BackgroundTasks("duties", [Pruner([rule]), other]):
        eventually(lambda: turns and turns[-1] == 0)

    assert {15, 5} <= set(turns)


def test_two_relays_take_turns(database, rows, connect):
    """One relay does not wait for what the other deletes."""
    dead_since(rows, 25)
    rule = RetentionRule("dead jobs", dead_jobs.prune_dead_jobs, timedelta(days=180), 10)
    one, other = connect(autocommit=True), connect(autocommit=True)

    with one.transaction():
        assert retention.claim_batch(one, pruner.STATEMENT_TIMEOUT)
        rule.prune(one, rule.older_than, rule.batch)
        assert Pruner([rule])(other) == pruner.BUSY_PAUSE_S

    assert Pruner([rule])(other) == pruner.PAUSE_S
    assert rows("SELECT count(*) FROM workshed.dead") == [(5,)]


def test_two_relays_at_once_delete_all_of_it(database, rows, eventually):
    dead_since(rows, 200)
    rule = RetentionRule("dead jobs", dead_jobs.prune_dead_jobs, timedelta(days=180), 7)

    with BackgroundTasks("one", [Pruner([rule])]), BackgroundTasks("two", [Pruner([rule])]):
        eventually(lambda: rows("SELECT count(*) FROM workshed.dead") == [(0,)])


def test_a_batch_that_takes_too_long_is_rolled_back_and_smaller_the_next_time(
    database, rows, monkeypatch
):
    """PostgreSQL cancels its statement."""
    monkeypatch.setattr(pruner, "STATEMENT_TIMEOUT", timedelta(milliseconds=300))
    dead_since(rows, 25)
    sizes = []

    def slow(conn, older_than, limit):
        sizes.append(limit)
        if limit == 10:  # batches of 10 finish in time, however busy the machine is
            conn.execute("SET LOCAL statement_timeout = '90 s'")
        deleted = dead_jobs.prune_dead_jobs(conn, older_than, limit)
        if limit > 10:
            conn.execute("SELECT pg_sleep(60)")
        return deleted

    with db.connect() as conn:
        duty = Pruner([RetentionRule("dead jobs", slow, timedelta(days=180), 100)])
        while duty(conn) != EVERY_S:
            pass

    assert sizes == [100, 25, 10, 10, 10]
    assert rows("SELECT count(*) FROM workshed.dead") == [(0,)]


def test_a_rule_that_always_times_out_stops_no_other(database, rows, monkeypatch, caplog, died):
    monkeypatch.setattr(pruner, "STATEMENT_TIMEOUT", timedelta(milliseconds=100))
    died("old", days=181)

    def stuck(conn, older_than, limit):
        conn.execute("SELECT pg_sleep(60)")

    with db.connect() as conn:
        conn.execute("UPDATE workshed.pruned SET done_at = done_at - interval '3 days'")
        duty = Pruner(
            [
                RetentionRule("attempts", stuck, timedelta(), 20),
                *retention.retention_rules(settings())[:1],
            ]
        )
        while duty(conn) != EVERY_S:
            pass
        age = retention.pruned_ages(conn)

    assert "expired attempts could not be deleted; trying again in an hour" in caplog.text
    assert rows("SELECT 1 FROM workshed.dead") == []
    assert (age["attempts"].days, age["dead jobs"].days) == (3, 0)


def test_each_rule_is_recorded_as_done_when_nothing_more_has_expired(database, rows):
    rows("UPDATE workshed.pruned SET done_at = done_at - interval '3 days' RETURNING 1")

    prune()

    with db.connect() as conn:
        age = retention.pruned_ages(conn)
    assert set(age) == {rule.name for rule in retention.retention_rules(settings())}
    assert max(age.values()) < timedelta(hours=1)


def days_of_runs(conn, *names):
    for name in names:
        conn.execute(
            f"CREATE TABLE workshed.runs_{name} PARTITION OF workshed.runs "
            f"FOR VALUES FROM ('{name.replace('_', '-')} 00:00Z') "
            f"TO (('{name.replace('_', '-')} 00:00Z'::timestamptz + interval '1 day'))"
        )
    conn.commit()


def test_the_history_is_dropped_by_whole_days_one_at_a_time(database, conn, rows):
    days_of_runs(conn, "2026_01_30", "2026_01_31")
    there = (
        "SELECT to_regclass('workshed.runs_2026_01_30'), to_regclass('workshed.runs_2026_01_31')"
    )

    assert runs.prune_runs(conn, timedelta(days=30), 1) == 1
    assert conn.execute(there).fetchone() == (None, "workshed.runs_2026_01_31")
    conn.commit()
    prune()

    assert rows(there) == [(None, None)]
    assert runs.prune_runs(conn, timedelta(days=30), 1) == 0  # today's partition stays


def test_a_relay_drops_one_day_in_each_transaction(database, conn, rows):
    """Each drop locks out readers of the history; many in one transaction block them for longer."""
    days_of_runs(conn, "2026_01_30", "2026_01_31")
    duty = Pruner(
        [rule for rule in retention.retention_rules(settings()) if rule.name == "history"]
    )

    with db.connect() as own:
        duty(own)

    there = (
        "SELECT to_regclass('workshed.runs_2026_01_30'), to_regclass('workshed.runs_2026_01_31')"
    )
    assert rows(there) == [(None, "workshed.runs_2026_01_31")]


def test_a_history_that_is_read_holds_up_nothing(database, conn, rows, died, caplog):
    """Without its lock timeout the drop waits for the reader, and all others wait for the drop."""
    days_of_runs(conn, "2026_01_31")
    died("old", days=181)
    conn.execute("SELECT count(*) FROM workshed.runs")  # its transaction stays open

    prune()

    assert "expired history could not be deleted; trying again in an hour" in caplog.text
    assert rows("SELECT 1 FROM workshed.dead") == []
    conn.rollback()
    prune()
    assert rows("SELECT to_regclass('workshed.runs_2026_01_31')") == [(None,)]


def test_notes_of_lost_runs_go_with_the_history(database, rows, conn):
    runs.record_dropped(conn, "old", 3)
    conn.execute(
        "UPDATE workshed.runs_dropped SET recorded_at = workshed.now() - interval '31 days'"
    )
    runs.record_dropped(conn, "young", 3)
    conn.commit()

    prune()

    assert rows("SELECT worker FROM workshed.runs_dropped") == [("young",)]


def test_expired_batches_are_found_by_an_index(database, rows, conn):
    """Most batches have not expired, and a relay checks every hour."""
    claims.use_indexes(conn)
    plan = conn.execute(
        "EXPLAIN SELECT id FROM workshed.batches "
        "WHERE completed_at < workshed.now() - interval '90 days'"
    ).fetchall()

    assert any("batches_by_completion" in line for (line,) in plan), plan
