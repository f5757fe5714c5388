"""How much to measure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of jobs and rounds."""

    rounds: int
    processes: tuple[int, ...]
    """Numbers of worker processes, each in a run of its own."""
    drain_jobs: int
    nap_jobs: int
    slow_sends: int
    """Jobs sent one at a time."""
    fast_sends: int
    paced_sends: int
    relay_jobs: int
    delayed_jobs: int
    idle_rows: int
    option_jobs: int
    idle_s: float
    pictures: int
    import_rows: int
    """Rows of an imported file."""
    max_import_rows: int
    """Rows of the largest imported file."""
    orders: int
    """Orders within the thirty days of a report."""
    recipients: int
    """Recipients of a campaign."""
    history_runs: int
    """Runs in the history that the console shows."""
    write_jobs: int
    """Jobs whose writes are counted."""
    vacuum_jobs: int
    """Jobs that go through the schedule table."""
    footprint_jobs: int
    """Jobs that a worker has run before its memory is measured."""
    compute_jobs: int
    """Jobs of which each uses 1 or 5 ms of CPU."""
    counted_jobs: int
    """Jobs that a worker runs while its instructions are counted."""
    later_rows: int
    """Jobs due later, in the table that a worker on PostgreSQL alone drains."""
    steady_s: float
    """How long jobs are sent at an even pace."""


FULL = Size(
    5,
    (1, 2),
    25_000,
    5_000,
    2_000,
    30_000,
    500,
    60_000,
    2_000,
    1_000_000,
    12_000,
    5.0,
    20,
    100_000,
    1_000_000,
    1_000_000,
    10_000,
    1_000_000,
    4_000,
    200_000,
    420,
    3_000,
    5_000,
    1_000_000,
    3_600.0,
)
QUICK = Size(
    1,
    (1,),
    8_000,
    2_000,
    500,
    10_000,
    100,
    20_000,
    500,
    100_000,
    5_000,
    3.0,
    10,
    20_000,
    20_000,
    100_000,
    2_000,
    100_000,
    1_000,
    20_000,
    420,
    500,
    2_500,
    100_000,
    60.0,
)
SMOKE = Size(
    1,
    (1,),
    200,
    100,
    20,
    200,
    10,
    200,
    20,
    200,
    50,
    0.5,
    2,
    1_000,
    1_000,
    2_000,
    50,
    2_000,
    50,
    2_500,
    20,
    20,
    200,
    1_000,
    3.0,
)
"""To check that the benchmarks run; the figures are meaningless."""
