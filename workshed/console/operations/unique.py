"""The keys of unique jobs, held while a job is alive or while it runs."""

from dataclasses import asdict
from datetime import datetime
from typing import Any, Literal

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
