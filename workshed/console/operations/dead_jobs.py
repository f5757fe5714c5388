"""Dead jobs: how they are shown, retried and discarded."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from workshed.console.formatting import format_job_count
from workshed.console.operations.message_body import body_as_json
from workshed.console.operations.operation import UNKNOWN, Operation, Preview
from workshed.console.text import one_line_error
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs, retry_preview
from workshed.jobs.dead.dead_jobs import DeadJob, UnreadableJobError
from workshed.jobs.dead.retry_preview import RetryPreview
from workshed.transport.messages.envelope import decode_message

MOST_PREVIEWED = 10_000
"""Jobs whose bodies are read before the question; further ones are only counted."""
GONE_ANSWER = "no longer dead"
GONE_REASON = "Another operator has already handled it, or its retention has ended."


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


def _find_in_order(_: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Return all ids, in the order in which they are retried; a missing one is no error."""
    return {message_id: message_id for message_id in ids}


def _retry_job(conn: Connection, message_id: str) -> str:
    return "retried" if dead_jobs.retry_job(conn, message_id, decode_message) else UNKNOWN


def _preview_retry(conn: Connection, ids: Mapping[str, str]) -> Preview:
    first, others = list(ids)[:MOST_PREVIEWED], list(ids)[MOST_PREVIEWED:]
    prospect = retry_preview.preview_retry(conn, first, decode_message)
    unread = dead_jobs.count_dead_ids(conn, others) if others else 0
    notes = [waits_text(prospect), unreadable_text(prospect.unreadable)]
    if unread:
        notes.append(f"Only the first {len(first)} jobs were checked.")
    return Preview(prospect.jobs + unread, " ".join(filter(None, notes)))


def _preview_discard(conn: Connection, ids: Mapping[str, str]) -> Preview:
    count = dead_jobs.count_dead_ids(conn, list(ids))
    return Preview(count, f"{'It' if count == 1 else 'They'} can then no longer be retried.")


RETRY = Operation(
    "dead.retry",
    "message_id",
    _find_in_order,
    _retry_job,
    changed={"retried": ""},
    verb="Retry",
    past="retried",
    preview=_preview_retry,
    refusals={UnreadableJobError: "cannot be read"},
    gone_answer=GONE_ANSWER,
    gone_reason=GONE_REASON,
)
RETRY_BATCH = replace(RETRY, name="batches.retry")


def discard(reason: str) -> Operation[str]:
    """Return the operation that deletes dead jobs; their attempts record the discard and why."""

    def discard_job(conn: Connection, message_id: str) -> str:
        return "discarded" if dead_jobs.discard_job(conn, message_id, reason) else UNKNOWN

    return Operation(
        "dead.discard",
        "message_id",
        _find_in_order,
        discard_job,
        changed={"discarded": ""},
        verb="Discard",
        past="discarded",
        preview=_preview_discard,
        gone_answer=GONE_ANSWER,
        gone_reason=GONE_REASON,
    )
