"""Errors which mean that a record is deleted, so that its jobs have nothing left to do."""

import functools
import re
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from psycopg.errors import ForeignKeyViolation

from workshed.jobs import RecordMissing

RECORD_BY_CONSTRAINT = {
    "attachments_user_id_fkey": "user",
    "imports_owner_id_fkey": "user",
    "sync_cursors_source_fkey": "source",
    "sync_records_source_fkey": "source",
    "sync_skipped_source_fkey": "source",
}
"""Foreign keys to records that a user can delete, by name, and the kind of record. Keys to stored
files are left out on purpose, because a job that has lost its file must not look finished."""
KEY_VALUE = re.compile(r"=\((.*?)\)")
"""The value in PostgreSQL's message, in any language: `Key (user_id)=(7) is not present in …`."""


class DeletedRecords(Middleware):
    """Discard jobs whose record was deleted while they ran.

    A job that looks for its record and finds nothing raises `RecordMissing`. If the record is
    deleted later, the job fails on a foreign key; this middleware ends it in the same way, without
    another attempt.
    """

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap the actor, so that such an error becomes `RecordMissing`."""
        perform = actor.fn

        @functools.wraps(perform)
        def discarding(*args: Any, **kwargs: Any) -> Any:
            try:
                return perform(*args, **kwargs)
            except ForeignKeyViolation as err:
                record = RECORD_BY_CONSTRAINT.get(err.diag.constraint_name or "")
                if record is None:
                    raise
                found = KEY_VALUE.search(err.diag.message_detail or "")
                raise RecordMissing(record, found[1] if found else "of this job") from err

        actor.fn = discarding
