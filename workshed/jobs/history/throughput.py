"""Rate, durations and failures of the runs of a time span, at any rate."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from workshed.database.postgres import Connection
from workshed.jobs.history import run_minutes
from workshed.jobs.history.histogram import estimate_percentile
from workshed.jobs.history.run_minutes import TimeRange
from workshed.jobs.outcomes import FAILED
from workshed.value_class import value_class

MINUTE = timedelta(minutes=1)
ROUNDED = timedelta(seconds=15)
"""The time of a mean is rounded up to this, so that it does not change each second."""
MOST_SAMPLED = 10_000
"""Rows of `run_counts` whose times are read: all, unless no relay has run for a while."""
SUCCEEDED = "succeeded"


@value_class
class ThroughputWindow:
    """A time span that ends now, as bars of a chart."""

    name: str
    """In addresses."""
    title: str
    """After “in the”."""
    step: timedelta
    """Width of a bar, in whole minutes."""
    bars: int

    def time_range(self, now: datetime) -> TimeRange:
        """Return the span of all bars; the last has begun, and is not over.

        Bars begin at full multiples of their width, so that they do not change as time passes.
        """
        width_s = int(self.step.total_seconds())
        ends = datetime.fromtimestamp((int(now.timestamp()) // width_s + 1) * width_s, UTC)
        return TimeRange(ends - self.bars * self.step, ends)


WINDOWS = (
    ThroughputWindow("15m", "last 15 min", MINUTE, 15),
    ThroughputWindow("1h", "last hour", MINUTE, 60),
    ThroughputWindow("24h", "last 24 h", 15 * MINUTE, 96),
)
"""The first one is the default."""


@value_class
class ThroughputBucket:
    """The runs that were recorded in one part of the time span."""

    at: datetime
    """When the part begins."""
    succeeded: int
    failed: int

    @property
    def ended(self) -> int:
        """Succeeded and failed runs together."""
        return self.succeeded + self.failed


@value_class
class Throughput:
    """Figures of a time span; `None` if unknown."""

    window: str
    since: datetime
    until: datetime
    """The end of the current minute, or of a longer bar: runs until then are added."""
    is_complete: bool
    """False if there are too many runs that no relay has summed up; the latest are counted."""
    succeeded: int
    failed: int
    """Attempts that ended in an error, as in `outcomes.FAILED`."""
    per_minute: float
    """Mean of succeeded and failed runs."""
    busiest_minute: int
    """The most succeeded and failed runs of one minute."""
    failure_rate: float | None
    """Share of failed runs among those that succeeded or failed, 0 to 1."""
    run_p50_s: float | None
    """The percentiles are estimates, at most twice or half of the true value."""
    run_p95_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    step_s: int
    """Width of a bar, in seconds."""
    bars: Sequence[ThroughputBucket]


def measure_throughput(conn: Connection, window: ThroughputWindow, now: datetime) -> Throughput:
    """Measure the runs of a time span that ends now."""
    span = window.time_range(now)
    minutes = count_minutes(conn, span)
    succeeded, failed = (sum(minute[at] for minute in minutes.values()) for at in (0, 1))
    ran, waited = sum_histograms(conn, span)
    ended, elapsed = succeeded + failed, -((span.since - now) // ROUNDED) * ROUNDED
    return Throughput(
        window=window.name,
        since=span.since,
        until=span.until,
        is_complete=not run_minutes.is_behind(conn, span),
        succeeded=succeeded,
        failed=failed,
        per_minute=ended / (elapsed / MINUTE),
        busiest_minute=max((sum(minute) for minute in minutes.values()), default=0),
        failure_rate=failed / ended if ended else None,
        run_p50_s=estimate_percentile(ran, 0.5),
        run_p95_s=estimate_percentile(ran, 0.95),
        wait_p50_s=estimate_percentile(waited, 0.5),
        wait_p95_s=estimate_percentile(waited, 0.95),
        step_s=int(window.step.total_seconds()),
        bars=sum_bars(minutes, window, span),
    )


def count_minutes(conn: Connection, span: TimeRange) -> dict[datetime, tuple[int, int]]:
    """Return how many runs succeeded and failed in each minute that has any."""
    query = """
        SELECT minute, COALESCE(sum(count) FILTER (WHERE outcome = 'succeeded'), 0)::bigint,
               COALESCE(sum(count) FILTER (WHERE outcome <> 'succeeded'), 0)::bigint
          FROM (SELECT minute, outcome, count
                  FROM workshed.run_totals
                 WHERE minute >= %(since)s AND minute < %(until)s
                 UNION ALL
               (SELECT minute, outcome, count
                  FROM workshed.run_counts
                 WHERE minute >= %(since)s AND minute < %(until)s
                 ORDER BY minute DESC
                 LIMIT %(unmoved)s)) AS counted
         WHERE outcome = ANY (%(outcomes)s)
         GROUP BY minute
    """
    found = conn.execute(query, _values(span), prepare=False)
    return {minute: (succeeded, failed) for minute, succeeded, failed in found}


def sum_histograms(conn: Connection, span: TimeRange) -> tuple[list[int], list[int]]:
    """Return the histograms of run times and of waits, of runs that succeeded or failed.

    Of those that no relay has moved, only so many rows are read.
    """
    query = """
        WITH unmoved AS MATERIALIZED (
            SELECT outcome, run_buckets, wait_buckets
              FROM workshed.run_counts
             WHERE minute >= %(since)s AND minute < %(until)s
             ORDER BY minute DESC
             LIMIT %(sampled)s
        ), counted AS (
            SELECT hist.kind, hist.bucket - 1 AS bucket, hist.count
              FROM workshed.run_totals
             CROSS JOIN LATERAL (
                   SELECT 'run' AS kind, ran.bucket, ran.count
                     FROM unnest(run_hist) WITH ORDINALITY AS ran (count, bucket)
                    UNION ALL
                   SELECT 'wait', waited.bucket, waited.count
                     FROM unnest(wait_hist) WITH ORDINALITY AS waited (count, bucket)) AS hist
             WHERE minute >= %(since)s AND minute < %(until)s AND outcome = ANY (%(outcomes)s)
             UNION ALL
            SELECT 'run', bucket, 1
              FROM unmoved CROSS JOIN unnest(run_buckets) AS bucket
             WHERE outcome = ANY (%(outcomes)s)
             UNION ALL
            SELECT 'wait', bucket, 1
              FROM unmoved CROSS JOIN unnest(wait_buckets) AS bucket
             WHERE outcome = ANY (%(outcomes)s)
        )
        SELECT kind, bucket, sum(count)::bigint
          FROM counted
         WHERE bucket IS NOT NULL
         GROUP BY kind, bucket
    """
    sums: Counter[tuple[str, int]] = Counter()
    for kind, bucket, count in conn.execute(query, _values(span), prepare=False):
        sums[kind, bucket] = count
    last = max((bucket for _, bucket in sums), default=-1)
    ran, waited = ([sums[kind, at] for at in range(last + 1)] for kind in ("run", "wait"))
    return ran, waited


def sum_bars(
    minutes: Mapping[datetime, tuple[int, int]], window: ThroughputWindow, span: TimeRange
) -> list[ThroughputBucket]:
    """Sum minutes up to bars, oldest first."""
    succeeded, failed = [0] * window.bars, [0] * window.bars
    for minute, (done, bad) in minutes.items():
        number = (minute - span.since) // window.step
        succeeded[number] += done
        failed[number] += bad
    return [
        ThroughputBucket(span.since + number * window.step, succeeded[number], failed[number])
        for number in range(window.bars)
    ]


def _values(span: TimeRange) -> dict[str, object]:
    return {
        "since": span.since,
        "until": span.until,
        "outcomes": [SUCCEEDED, *FAILED],
        "unmoved": run_minutes.MOST_UNMOVED,
        "sampled": MOST_SAMPLED,
    }
