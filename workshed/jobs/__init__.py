"""Rows about jobs, and what a job may say or ask while it runs."""

from workshed.jobs.current import once
from workshed.jobs.signals import Discard, RecordMissing, RetryAfter, Signal, Snooze

__all__ = ["Discard", "RecordMissing", "RetryAfter", "Signal", "Snooze", "once"]
