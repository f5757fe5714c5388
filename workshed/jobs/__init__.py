"""Rows about jobs, and what a job may say or ask while it runs."""

from workshed.jobs.current import cancelled, checkpoint, once, planned_at, sent_at
from workshed.jobs.signals import Cancelled, Discard, RecordMissing, RetryAfter, Signal, Snooze

__all__ = [
    "Cancelled",
    "Discard",
    "RecordMissing",
    "RetryAfter",
    "Signal",
    "Snooze",
    "cancelled",
    "checkpoint",
    "once",
    "planned_at",
    "sent_at",
]
