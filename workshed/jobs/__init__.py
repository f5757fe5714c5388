"""Rows about jobs, and what a job may say or ask while it runs."""

from workshed.jobs.signals import Discard, RecordMissing, RetryAfter, Snooze

__all__ = ["Discard", "RecordMissing", "RetryAfter", "Snooze"]
