"""Outcomes of a run: one vocabulary for code, tables, metrics, logs and the console."""

from typing import Literal, get_args

OutcomeKind = Literal[
    "succeeded",
    "retry",
    "snoozed",
    "interrupted",
    "unknown_actor",
    "discarded",
    "cancelled",
    "skipped",
    "dead",
    "expired",
    "poison",
    "duplicate",
]
OUTCOMES: tuple[OutcomeKind, ...] = get_args(OutcomeKind)

DISCARDED = ("discarded", "cancelled", "skipped")
"""The job had nothing left to do, was cancelled, or raised dramatiq's `SkipMessage`."""
DEAD = ("dead", "expired", "poison")
"""The job does not run again by itself: it failed, was too late, or killed its worker twice."""
FINAL = ("succeeded", *DISCARDED, *DEAD)
"""The job does not run again by itself."""
FAILED = ("retry", "dead", "poison")
"""The attempt ended in an error."""
