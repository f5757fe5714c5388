"""How much to measure."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of jobs and rounds."""

    rounds: int
    processes: tuple[int, ...]
    """Numbers of worker processes, each in a run of its own."""
    drained: int
    napping: int
    sent_slowly: int
    """Jobs sent one at a time."""
    sent_quickly: int
    paced: int
    relayed: int
    delayed: int
    idle_rows: int
    options: int
    idle_s: float
    pictures: int
    imported: int
    """Rows of an imported file."""
    imported_at_most: int
    """Rows of the largest imported file."""
    ordered: int
    """Orders within the thirty days of a report."""
    mailed: int
    """Recipients of a campaign."""
    viewed: int
    """Runs in the history that the console shows."""
    written: int
    """Jobs whose writes are counted."""
    vacuumed: int
    """Jobs that go through the schedule table."""


FULL = Size(
    3,
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
)
"""To check that the benchmarks run; the figures are meaningless."""
