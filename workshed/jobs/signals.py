"""Signals: exceptions by which a job chooses its outcome. They are not errors."""

from datetime import timedelta
from typing import ClassVar

from workshed.duration import format_rounded
from workshed.jobs.outcomes import OutcomeKind


class Signal(Exception):  # noqa: N818 -- these are not errors
    """Base class of what a job raises on purpose; logs do not treat these as errors."""


class Snooze(Signal):
    """Run this job again after `delay`; it costs no attempt."""

    def __init__(self, delay: timedelta, reason: str = "snoozed") -> None:
        super().__init__(f"{reason}; again in {format_rounded(max(delay, timedelta()))}")
        self.delay = delay
        self.reason = reason


class RetryAfter(Signal):
    """This attempt failed, and the other side says when to retry; it costs an attempt."""

    def __init__(self, delay: timedelta, reason: str = "asked to run again later") -> None:
        """Keep the wait that replaces the policy's own."""
        super().__init__(f"{reason}; again in {format_rounded(max(delay, timedelta()))}")
        self.delay = delay
        self.reason = reason


class Discard(Signal):
    """There is nothing left to do for this job; it is recorded with its reason and not retried."""

    outcome: ClassVar[OutcomeKind] = "discarded"


class Cancelled(Discard):
    """This job was cancelled while it ran; raised by `checkpoint()`."""

    outcome = "cancelled"


class Skipped(Discard):
    """The actor raised dramatiq's `SkipMessage`."""

    outcome = "skipped"


class RecordMissing(Signal):
    """The record this job is about is not in the database.

    The job is discarded as with `Discard`, with one difference: soon after a direct `send`, the
    sender's transaction may not have committed yet, so the job is retried for a while first.
    """

    def __init__(self, record: str, key: object) -> None:
        """Name the record as a person would: `RecordMissing("user", 7)`."""
        super().__init__(f"{record} {key} does not exist")
        self.record = record
        self.key = key
