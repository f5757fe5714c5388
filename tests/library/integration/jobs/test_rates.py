"""How many jobs run, how long they take, and how many fail."""

from datetime import UTC, datetime, timedelta

import pytest

from workshed.jobs.history import run_minutes, throughput
from workshed.jobs.history.run_minutes import TimeRange
from workshed.jobs.history.throughput import WINDOWS, ThroughputBucket
from workshed.transport.relay.run_counts import POLL_S, RunCountMover

MINUTE = timedelta(minutes=1)
QUARTER, HOUR, DAY = WINDOWS
NOW = datetime(2001, 1, 8, 9, 0, 31, tzinfo=UTC)


@pytest.fixture
def conn(connect):
    found = connect(autocommit=True)
    found.execute("""
        CREATE TABLE workshed.runs_of_then PARTITION OF workshed.runs
           FOR VALUES FROM ('2001-01-02 00:00Z') TO ('2001-01-09 00:00Z')
    """)
    return found


@pytest.fixture
def ran(conn):
    """`ran(3, "retry", ago=MINUTE)`: record three runs that ended so long before `NOW`."""
    query = """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release,
                                   duration_s, queue_wait_s)
        SELECT %(at)s, n, 0, 1, 'low', 'greet', %(outcome)s, '', now(), now(), 'web-1:77', 'send',
               '', %(run_s)s, %(wait_s)s
          FROM generate_series(1, %(count)s) AS n
    """

    def record(count, outcome="succeeded", *, ago=timedelta(), run_s=1.5, wait_s=0.05):
        values = {"count": count, "outcome": outcome, "run_s": run_s, "wait_s": wait_s}
        conn.execute(query, {**values, "at": NOW - ago})

    return record


@pytest.fixture(params=["counted", "moved"])
def measure(conn, request):
    """`measure(QUARTER)`: measure at `NOW`, before and after a relay had its turn."""

    def take(window):
        if request.param == "moved":
            RunCountMover()(conn)
            assert conn.execute("SELECT FROM workshed.run_counts").fetchall() == []
        return throughput.measure_throughput(conn, window, NOW)

    return take


def test_without_runs_there_are_no_rates(measure):
    found = measure(QUARTER)

    assert (found.succeeded, found.failed, found.per_minute, found.busiest_minute) == (0, 0, 0, 0)
    assert found.failure_rate is found.run_p50_s is found.wait_p95_s is None
    assert sum(bar.ended for bar in found.bars) == 0


@pytest.mark.parametrize(
    ("window", "since", "until"),
    [
        (QUARTER, "2001-01-08T08:46Z", "2001-01-08T09:01Z"),
        (HOUR, "2001-01-08T08:01Z", "2001-01-08T09:01Z"),
        (DAY, "2001-01-07T09:15Z", "2001-01-08T09:15Z"),
    ],
)
def test_a_window_is_of_whole_bars_and_counts_what_is_in_it(measure, ran, window, since, until):
    begin, end = datetime.fromisoformat(since), datetime.fromisoformat(until)
    ran(1, ago=NOW - begin)
    ran(2, ago=NOW - begin + timedelta(microseconds=1))
    ran(4, ago=NOW - end + timedelta(microseconds=1))
    ran(8, ago=NOW - end)

    found = measure(window)

    assert (found.since, found.until, found.succeeded) == (begin, end, 5)
    assert [bar.at for bar in found.bars] == [begin + n * window.step for n in range(window.bars)]
    assert (found.bars[0].succeeded, found.bars[-1].succeeded) == (1, 4)


def test_failed_are_attempts_that_ended_in_an_error(measure, ran):
    ran(30)
    for outcome in ("retry", "dead", "poison"):
        ran(1, outcome)
    for outcome in ("snoozed", "interrupted", "discarded", "expired", "duplicate", "cancelled"):
        ran(1, outcome)

    found = measure(HOUR)

    assert (found.succeeded, found.failed) == (30, 3)
    assert found.failure_rate == pytest.approx(3 / 33)


def test_the_rate_is_a_mean_and_the_busiest_minute_is_named(measure, ran):
    ran(60, ago=3 * MINUTE)
    ran(20, "retry", ago=3 * MINUTE)
    ran(7)

    found = measure(QUARTER)

    assert found.per_minute == pytest.approx(87 / 14.75)  # 14 min 31 s, rounded up
    assert found.busiest_minute == 80
    assert [bar for bar in found.bars if bar.ended] == [
        ThroughputBucket(datetime(2001, 1, 8, 8, 57, tzinfo=UTC), 60, 20),
        ThroughputBucket(datetime(2001, 1, 8, 9, 0, tzinfo=UTC), 7, 0),
    ]


def test_times_are_at_most_twice_or_half_of_the_true_ones(measure, ran):
    for number in range(1, 101):
        ran(1, run_s=number / 10, wait_s=number / 1000, ago=number * timedelta(seconds=1))
    ran(50, "snoozed", run_s=900.0, wait_s=900.0)  # neither succeeded nor failed

    found = measure(QUARTER)

    assert 2.5 < found.run_p50_s < 10 < found.run_p95_s * 2 < 40
    assert 0.025 < found.wait_p50_s < 0.1 < found.wait_p95_s * 2 < 0.4


def test_a_long_window_sums_minutes_to_bars(measure, ran):
    ran(3, ago=20 * MINUTE)
    ran(2, "dead", ago=25 * MINUTE)
    ran(5, ago=23 * 60 * MINUTE)

    found = measure(DAY)

    assert [(bar.succeeded, bar.failed) for bar in found.bars if bar.ended] == [(5, 0), (3, 2)]
    assert found.busiest_minute == 5


def test_too_many_that_no_relay_has_moved_are_not_all_read(conn, ran, monkeypatch):
    monkeypatch.setattr(run_minutes, "MOST_UNMOVED", 2)
    for minutes in (3, 2, 1):
        ran(10, ago=minutes * MINUTE)

    found = throughput.measure_throughput(conn, QUARTER, NOW)

    assert (found.succeeded, found.is_complete) == (20, False)
    while RunCountMover()(conn) != POLL_S:
        pass
    found = throughput.measure_throughput(conn, QUARTER, NOW)
    assert (found.succeeded, found.is_complete) == (30, True)


def test_bars_stay_as_they_are_while_time_goes_on():
    for window in WINDOWS:
        assert window.time_range(NOW) == window.time_range(NOW + timedelta(seconds=28))
        later = window.time_range(NOW + window.step)
        assert later.since - window.time_range(NOW).since == window.step


def test_numbers_of_another_time_are_not_counted(conn, ran):
    ran(3, ago=2 * MINUTE)
    begin = datetime(2001, 1, 8, 8, 59, tzinfo=UTC)

    assert run_minutes.count_by_outcome(conn, TimeRange(begin, begin + MINUTE)) == {}
    assert run_minutes.count_by_outcome(conn, TimeRange(begin - MINUTE, begin)) == {"succeeded": 3}
