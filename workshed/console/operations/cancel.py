"""Cancel jobs: those that wait, or one wherever it is; and delete rules that cancel jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from workshed.console.formatting import format_due, format_job_count
from workshed.console.operations import timeline
from workshed.console.operations.environment import has_rabbitmq
from workshed.console.operations.operation import UNKNOWN, Operation, Preview
from workshed.console.operations.scheduled import (
    GONE_ANSWER,
    GONE_REASON,
    find_sorted,
    get_scheduled,
)
from workshed.database.postgres import Connection, database_now
from workshed.errors import WorkshedError
from workshed.jobs.control import cancel_rules, cancellations
from workshed.jobs.dead import dead_jobs


def _cancel_stored(conn: Connection, message_id: str) -> str:
    """Cancel a job that has a row, so that a misspelt id is reported."""
    if get_scheduled(conn, message_id) is None:
        return UNKNOWN
    return cancellations.cancel(conn, message_id)


def _preview_cancel(conn: Connection, ids: Mapping[str, str], *, is_any: bool = False) -> Preview:
    """Preview a cancellation of jobs that have a row, or with `is_any` of all."""
    waiting, others = cancellations.count_cancellable(conn, list(ids))
    others = len(ids) - waiting if is_any else others
    notes = [f"{format_job_count(waiting)} would be deleted."] if waiting else []
    if others:
        jobs = format_job_count(others)
        notes.append(f"{jobs} would be skipped when started, or asked to stop.")
    return Preview(waiting + others, " ".join(notes))


def _find_living(conn: Connection, ids: Sequence[str]) -> Mapping[str, str]:
    for message_id in ids:
        if dead_jobs.get_dead_job(conn, message_id):
            raise WorkshedError(
                f"{message_id} is dead and will not run; `workshed dead discard` deletes it"
            )
    return find_sorted(conn, ids)


def _preview_one(conn: Connection, ids: Mapping[str, str]) -> Preview:
    [message_id] = ids
    known = timeline.load_job(conn, message_id)
    place = "on RabbitMQ" if has_rabbitmq() else "with a worker"
    notes = f"It may be {place} or running; it would be skipped when it starts, or asked to stop."
    if known.state == "scheduled" and known.waiting is not None:
        due = format_due(known.waiting.due_at, database_now(conn))
        notes = f"It is waiting, due {due}; it would be deleted."
    elif known.state == "running":
        notes = "It is running; it would be asked to stop within 2 s."
    return Preview(1, notes, message_id)


def _find_rules(_: Connection, numbers: Sequence[str]) -> dict[str, int]:
    return {number: int(number) for number in numbers}


def _delete_rule(conn: Connection, number: int) -> str:
    return "deleted" if cancel_rules.delete_rule(conn, number) else UNKNOWN


CANCEL_STORED = Operation(
    "scheduled.cancel",
    "message_id",
    find_sorted,
    _cancel_stored,
    changed={
        "deleted": "",
        "will be skipped": "A running job is asked to stop within 2 s.",
        "asked to stop": "",
    },
    verb="Cancel",
    past="cancelled",
    preview=_preview_cancel,
    gone_answer=GONE_ANSWER,
    gone_reason=GONE_REASON,
)
CANCEL_ANY = replace(
    CANCEL_STORED, run=cancellations.cancel, preview=partial(_preview_cancel, is_any=True)
)
"""Includes jobs that have no row, because they may be on RabbitMQ."""
CANCEL_ONE = replace(CANCEL_ANY, name="job.cancel", find=_find_living, preview=_preview_one)
DELETE_RULES = Operation(
    "scheduled.rules.delete", "rule", _find_rules, _delete_rule, changed={"deleted": ""}
)
