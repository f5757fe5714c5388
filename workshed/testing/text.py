"""Texts of failed expectations, aligned so that you can compare two jobs at a glance."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from workshed.duration import format_duration
from workshed.middleware import Outcome
from workshed.testing.enqueued import EnqueuedJob
from workshed.testing.fake_broker import KitRun

MOST_LISTED_JOBS = 20
"""The most jobs that are listed."""


def call_text(actor: str, arguments: Mapping[str, Any] | None) -> str:
    """Return a job as a call of its actor, with `…` if any arguments match."""
    if arguments is None:
        return f"{actor}(…)"
    return f"{actor}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"


def sent_text(job: EnqueuedJob) -> str:
    """Return a job as it was sent."""
    words = [repr(arg) for arg in job.message.args]
    words += [f"{name}={value!r}" for name, value in job.message.kwargs.items()]
    return f"{job.actor}({', '.join(words)})"


def span_text(time: timedelta) -> str:
    """Return a span rounded for people: `3d`, `1h30m`, `11.3s`."""
    if time < timedelta():
        return f"-{span_text(-time)}"
    if time < timedelta(minutes=1):
        return f"{round(time.total_seconds(), 1):g}s"
    return format_duration(timedelta(seconds=round(time.total_seconds())))


def due_text(job: EnqueuedJob) -> str:
    """Return the delay of a job in words."""
    return "now" if job.delay <= timedelta() else f"in {span_text(job.delay)}"


def outcome_text(outcome: Outcome) -> str:
    """Return the outcome of a run, for example `retry in 15s: ValueError: no`."""
    delay = f" in {span_text(outcome.delay)}" if outcome.delay else ""
    reason = f": {outcome.reason}" if outcome.reason else ""
    return f"{outcome.kind}{delay}{reason}"


def align_table(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align all columns but the last."""
    rows = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def format_titled_list(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a titled list with its length, or say that it is empty."""
    if not rows:
        return [f"{title}: none"]
    lines = [f"  {line}" for line in align_table(rows[:MOST_LISTED_JOBS])]
    more = [f"  … and {len(rows) - MOST_LISTED_JOBS} more"] if len(rows) > MOST_LISTED_JOBS else []
    return [f"{title} ({len(rows)}):", *lines, *more]


def job_columns(job: EnqueuedJob) -> tuple[str, str, str]:
    """Return the columns that are listed for a job."""
    priority = "" if job.priority is None else f"  priority {job.priority}"
    return sent_text(job), job.queue, due_text(job) + priority


def run_columns(run: KitRun) -> tuple[str, str]:
    """Return the columns that are listed for a run."""
    return run.title, outcome_text(run.outcome)
