"""The keys of unique jobs, held while a job is alive or while it runs; and their release."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

from workshed.console.operations.operation import UNKNOWN, Operation, Preview
from workshed.database.postgres import Connection
from workshed.jobs.locks import run_locks, unique
from workshed.jobs.locks.run_locks import HeldLock
from workshed.jobs.locks.unique import UniqueLock
from workshed.jobs.names import Names
from workshed.value_class import value_class


@value_class
class HeldKey:
    """A key that a job holds."""

    kind: Literal["alive", "running"]
    """Held while its job is alive; or while it runs, by a lease, which expires by itself."""
    row: UniqueLock | HeldLock

    @property
    def sort_key(self) -> tuple[datetime, str]:
        """The sort key."""
        return self.row.acquired_at, self.row.key


def list_held_keys(
    conn: Connection,
    *,
    actor: Names = None,
    begins: str | None = None,
    after: tuple[datetime, str] | None = None,
    limit: int = 1_000,
) -> list[HeldKey]:
    """Return the keys, the longest held first; `begins`: only keys with this prefix."""
    alive = unique.list_unique_locks(conn, actor=actor, begins=begins, after=after, limit=limit)
    running = run_locks.list_run_locks(conn, actor=actor, begins=begins, after=after, limit=limit)
    found = [HeldKey("alive", one) for one in alive] + [HeldKey("running", one) for one in running]
    return sorted(found, key=lambda one: one.sort_key)[:limit]


def as_data(key: HeldKey) -> dict[str, Any]:
    """Return a key for JSON output."""
    return asdict(key.row) | {"kind": key.kind}


@value_class
class KeyHolder:
    """A key, and the job that held it when the user chose it; `None` if no job did."""

    key: str
    message_id: str | None


def _find_holders(conn: Connection, keys: Sequence[str]) -> dict[str, KeyHolder]:
    """Return keys with the jobs that hold them now."""
    locks = ((key, unique.get_unique_lock(conn, key)) for key in keys)
    return {key: KeyHolder(key, None if lock is None else lock.message_id) for key, lock in locks}


def _release_key(conn: Connection, holder: KeyHolder) -> str:
    """Release a key if the same job still holds it; a retry since then makes no difference."""
    lock = unique.get_unique_lock(conn, holder.key)
    if lock is None:
        return UNKNOWN
    if lock.message_id != holder.message_id:
        return "now held by another job"
    return "released" if unique.release_key(conn, lock) else UNKNOWN


def _preview_release(conn: Connection, found: Mapping[str, KeyHolder]) -> Preview:
    locks = [(holder, unique.get_unique_lock(conn, holder.key)) for holder in found.values()]
    count = sum(lock is not None and lock.message_id == holder.message_id for holder, lock in locks)
    return Preview(
        count, "A job that is still running may then overlap with the next one that gets its key."
    )


RELEASE = Operation(
    "unique.release",
    "key",
    _find_holders,
    _release_key,
    changed={"released": ""},
    verb="Release",
    past="released",
    preview=_preview_release,
    gone_answer="no longer held",
    gone_reason="Another operator has already released it, or the job has ended.",
    identify=lambda _, holder: [holder.key, holder.message_id],
)
