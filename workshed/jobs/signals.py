"""What a job may say while it runs. These are words to the worker, not errors of ours."""

from datetime import timedelta
from typing import ClassVar

from workshed.jobs.outcomes import OutcomeKind


class Signal(Exception):  # noqa: N818 -- these are said, not failed
    """Root of them, by which logs tell them from errors."""


class Snooze(Signal):
    """Run this job again after `delay`; it costs no attempt."""

    def __init__(self, delay: timedelta, reason: str = "snoozed") -> None:
        """Keep when to come back and why, for the log."""
        super().__init__(f"{reason}; again in {delay.total_seconds():g} s")
        self.delay = delay
        self.reason = reason


class RetryAfter(Signal):
    """This attempt failed, and the other side said when to try again; it costs an attempt."""

    def __init__(self, delay: timedelta, reason: str = "asked to come back later") -> None:
        """Keep the wait that replaces the policy's own."""
        super().__init__(f"{reason}; again in {delay.total_seconds():g} s")
        self.delay = delay
        self.reason = reason


class Discard(Signal):
    """There is nothing left to do for this job; it is recorded with its reason and not retried."""

    outcome: ClassVar[OutcomeKind] = "discarded"


class Cancelled(Discard):
    """Somebody cancelled this job while it runs; raised by `checkpoint()`."""

    outcome = "cancelled"


class Skipped(Discard):
    """The actor left its job by dramatiq's `SkipMessage`."""

    outcome = "skipped"


class RecordMissing(Signal):
    """The record this job is about is not in the database.

    Discarded like `Discard`, with one difference: soon after a direct `send` the sender's
    transaction may not have committed yet, so the job looks again until it may have.
    """

    def __init__(self, record: str, key: object) -> None:
        """Name the record as a person would: `RecordMissing("user", 7)`."""
        super().__init__(f"{record} {key} does not exist")
        self.record = record
        self.key = key
