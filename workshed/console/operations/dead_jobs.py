"""Texts and data about dead jobs, for commands and pages."""

from dataclasses import asdict
from typing import Any

from workshed.console.formatting import format_job_count
from workshed.console.operations.message_body import body_as_json
from workshed.console.text import one_line_error
from workshed.jobs.dead.dead_jobs import DeadJob
from workshed.jobs.dead.retry_preview import RetryPreview


def waits_text(prospect: RetryPreview) -> str:
    """Say how many jobs of a retry would wait for a unique key; empty if none would."""
    if not prospect.waiting:
        return ""
    has, waits = ("has", "it waits") if prospect.waiting == 1 else ("have", "they wait")
    some = f"{prospect.waiting} of {format_job_count(prospect.jobs)}"
    return f"{some} {has} a unique key that another job holds: {waits} for it."


def unreadable_text(unreadable: int) -> str:
    """Say how many jobs cannot be retried; empty if all can."""
    if not unreadable:
        return ""
    return (
        f"{format_job_count(unreadable)} cannot be read and "
        f"{'stays' if unreadable == 1 else 'stay'} dead."
    )


def death_reason(row: DeadJob) -> str:
    """Return the cause of death in one line, with the text of the error."""
    return one_line_error(row.error_class, row.reason)


def as_data(row: DeadJob) -> dict[str, Any]:
    """Return a dead job for JSON output."""
    return asdict(row) | body_as_json(row.body)
