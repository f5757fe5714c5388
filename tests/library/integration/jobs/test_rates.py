"""How many jobs run, how long they take, and how many fail."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.library.integration.console.conftest import ran
from workshed.jobs.history import throughput
from workshed.jobs.history.throughput import ThroughputBucket

__all__ = ["ran"]

MINUTE = timedelta(minutes=1)


@pytest.fixture
def conn(connect):
    return connect(autocommit=True)


@pytest.fixture
def at(conn):
    """`at("3 minutes", "a")`: date the runs of these messages so long ago."""
    query = (
        "UPDATE workshed.runs SET recorded_at = workshed.now() - %s::interval "
        "WHERE message_id = ANY (%s)"
    )
    conn.execute("""
        CREATE TABLE workshed.runs_of_before PARTITION OF workshed.runs
           FOR VALUES FROM ('2001-01-01') TO (date_trunc('day', now(), 'UTC'))
    """)

    def at(ago, *message_ids):
        conn.execute(query, (ago, list(message_ids)))

    return at


def test_without_runs_there_are_no_rates(conn):
    found = throughput.measure_throughput(conn)

    assert (found.succeeded, found.failed, found.per_minute) == (0, 0, 0)
    assert found.failure_rate is found.run_p50_s is found.wait_p95_s is None
    assert (found.span, found.is_truncated) == (15 * MINUTE, False)
    assert sum(bar.ended for bar in found.bars) == 0


def test_rates_cover_the_last_quarter_of_an_hour(conn, ran, at):
    for number in range(30):
        ran(f"done-{number}", duration_s=number / 10, queue_wait_s=1.0)
    for number, outcome in enumerate(("retry", "dead", "poison")):
        ran(f"bad-{number}", outcome=outcome)
    ran("snoozed", outcome="snoozed")
    ran("old")
    at("16 minutes", "old")

    found = throughput.measure_throughput(conn)

    assert (found.succeeded, found.failed) == (30, 3)
    assert found.per_minute == pytest.approx(33 / 15)
    assert found.failure_rate == pytest.approx(3 / 33)
    assert 1 < found.run_p50_s < 2 < found.run_p95_s < 3
    assert found.wait_p50_s == 1.0


def test_a_bar_is_a_minute_and_counts_the_runs_that_ended_in_it(conn, ran, at):
    ran("a")
    ran("b", outcome="dead")
    ran("c")
    at("0 s", "a")
    at("5 minutes", "b", "c")

    found = throughput.measure_throughput(conn)

    assert found.step_s == 60
    assert len(found.bars) == 15
    assert [(bar.succeeded, bar.failed) for bar in found.bars if bar.ended] == [(1, 1), (1, 0)]
    assert {two.at - one.at for one, two in zip(found.bars, found.bars[1:], strict=False)} == {
        MINUTE
    }


def test_of_many_runs_the_latest_are_counted_with_the_span_they_cover(conn, ran, at, monkeypatch):
    monkeypatch.setattr(throughput, "MOST", 3)
    for name, ago in (("a", "1 s"), ("b", "2 s"), ("c", "30 s"), ("d", "40 s")):
        ran(name)
        at(ago, name)

    found = throughput.measure_throughput(conn)

    assert found.succeeded == 3
    assert found.is_truncated
    assert 30 <= found.span.total_seconds() < 40
    assert found.per_minute == pytest.approx(3 / (found.span / MINUTE))
    assert found.step_s == 5
    assert found.bars[0].at >= datetime.now(UTC) - found.span - timedelta(seconds=5)


def test_bars_stay_as_they_are_while_time_goes_on():
    now = datetime(2026, 11, 26, 9, 0, 31, tzinfo=UTC)
    part = int(now.timestamp()) // 5
    counted = {part: (4, 1), part - 6: (2, 0)}

    first = throughput.sum_buckets(counted, now, 2 * MINUTE, 10)
    later = throughput.sum_buckets(counted, now + timedelta(seconds=5), 2 * MINUTE, 10)

    assert first == later
    assert first[-1] == ThroughputBucket(datetime(2026, 11, 26, 9, 0, 30, tzinfo=UTC), 4, 1)
    assert first[-4] == ThroughputBucket(datetime(2026, 11, 26, 9, 0, tzinfo=UTC), 2, 0)
