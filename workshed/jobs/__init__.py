"""Rows about jobs, and what a running job may call or raise."""

from workshed.errors import OpenTransactionError
from workshed.jobs.context import attempt, cancelled, checkpoint, once, scheduled_for, sent_at
from workshed.jobs.signals import Cancelled, Discard, RecordMissing, RetryAfter, Signal, Snooze
from workshed.jobs.steps import Progress, StepError, step

__all__ = [
    "Cancelled",
    "Discard",
    "OpenTransactionError",
    "Progress",
    "RecordMissing",
    "RetryAfter",
    "Signal",
    "Snooze",
    "StepError",
    "attempt",
    "cancelled",
    "checkpoint",
    "once",
    "scheduled_for",
    "sent_at",
    "step",
]
