"""Texts and data about dead jobs, for commands and pages."""

from dataclasses import asdict
from typing import Any

from workshed.console.formatting import jobs
from workshed.console.operations.message_body import for_programs
from workshed.jobs.dead.dead_jobs import Dead
from workshed.jobs.dead.retry_preview import RetryPreview


def waits_text(prospect: RetryPreview) -> str:
    """Say how many jobs of a retry would wait for a unique key; empty if none would."""
    if not prospect.waits:
        return ""
    has, waits = ("has", "it waits") if prospect.waits == 1 else ("have", "they wait")
    some = f"{prospect.waits} of {jobs(prospect.jobs)}"
    return f"{some} {has} a unique key that another job holds: {waits} for it."


def unreadable_text(unreadable: int) -> str:
    """Say how many jobs cannot be retried; empty if all can."""
    if not unreadable:
        return ""
    return f"{jobs(unreadable)} cannot be read and {'stays' if unreadable == 1 else 'stay'} dead."


def death_reason(row: Dead) -> str:
    """Return the cause of death in one line."""
    return row.error_class or row.reason.partition("\n")[0]


def as_data(row: Dead) -> dict[str, Any]:
    """Return a dead job for JSON output."""
    return asdict(row) | for_programs(row.body)
