"""Rate, durations and failures of the latest runs."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from workshed.database.postgres import Connection
from workshed.jobs.outcomes import FAILED
from workshed.value_class import value_class

WINDOW = timedelta(minutes=15)
MOST = 20_000
"""Most runs that are read, so that the query is always quick."""
FINEST_S = 5
STEPS_S = (5, 10, 15, 30, 60)
"""Widths of a bar of the chart, in seconds; all are multiples of the finest."""
MOST_BARS = 20


@value_class
class ThroughputBucket:
    """The runs that ended in one part of the time span."""

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

    span: timedelta
    """How far back the runs go that were read."""
    is_truncated: bool
    """There are more runs in the window, which were not read."""
    succeeded: int
    failed: int
    """Attempts that ended in an error."""
    per_minute: float | None
    failure_rate: float | None
    """Share of failed runs among those that succeeded or failed, 0 to 1."""
    run_p50_s: float | None
    run_p95_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    step_s: int
    """Width of a bar, in seconds."""
    bars: Sequence[ThroughputBucket]


def measure_throughput(conn: Connection) -> Throughput:
    """Measure the runs of the last 15 minutes, or the latest 20 000 of them."""
    query = """
        WITH latest AS MATERIALIZED (
            SELECT recorded_at, duration_s, queue_wait_s, outcome = 'succeeded' AS succeeded,
                   outcome = ANY (%(failed)s) AS failed
              FROM workshed.runs
             WHERE recorded_at > workshed.now() - %(window)s
             ORDER BY recorded_at DESC, id DESC
             LIMIT %(most)s
        ), parts AS (
            SELECT floor(date_part('epoch', recorded_at) / %(finest)s)::bigint AS part,
                   count(*) FILTER (WHERE succeeded) AS succeeded,
                   count(*) FILTER (WHERE failed) AS failed
              FROM latest
             GROUP BY 1
        )
        SELECT workshed.now(), count(*), min(recorded_at),
               percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY duration_s),
               percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY queue_wait_s),
               (SELECT array_agg(ARRAY[part, succeeded, failed]) FROM parts)
          FROM latest
    """
    values = {"failed": list(FAILED), "window": WINDOW, "most": MOST, "finest": FINEST_S}
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- an aggregate has a row
    now, count, first, ran, waited, parts = found
    is_cut = count == MOST
    span = max(now - first, timedelta(seconds=1)) if is_cut else WINDOW
    counted = {part: (succeeded, failed) for part, succeeded, failed in parts or ()}
    succeeded, failed = (sum(one[at] for one in counted.values()) for at in (0, 1))
    ended, step_s = succeeded + failed, bucket_width(span)
    return Throughput(
        span=span,
        is_truncated=is_cut,
        succeeded=succeeded,
        failed=failed,
        per_minute=ended / (span / timedelta(minutes=1)),
        failure_rate=failed / ended if ended else None,
        run_p50_s=ran[0] if ran else None,
        run_p95_s=ran[1] if ran else None,
        wait_p50_s=waited[0] if waited else None,
        wait_p95_s=waited[1] if waited else None,
        step_s=step_s,
        bars=sum_buckets(counted, now, span, step_s),
    )


def bucket_width(span: timedelta) -> int:
    """Return the width of a bar in seconds that gives at most `MOST_BARS` bars."""
    return next((s for s in STEPS_S if span.total_seconds() <= s * MOST_BARS), STEPS_S[-1])


def sum_buckets(
    counted: Mapping[int, tuple[int, int]], now: datetime, span: timedelta, step_s: int
) -> list[ThroughputBucket]:
    """Sum the finest parts up to bars, oldest first, without the one that the span cuts.

    Bars begin at full multiples of their width, so that they do not change as time passes.
    """
    width = step_s // FINEST_S
    last = int(now.timestamp()) // step_s
    first = int((now - span).timestamp()) // step_s + 1
    found = []
    for number in range(min(first, last), last + 1):
        parts = [counted.get(number * width + one, (0, 0)) for one in range(width)]
        found.append(
            ThroughputBucket(
                datetime.fromtimestamp(number * step_s, UTC),
                sum(succeeded for succeeded, _ in parts),
                sum(failed for _, failed in parts),
            )
        )
    return found
