"""The jobs that run just now, as their workers have said at their last beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from workshed.db import Connection
from workshed.jobs.control.workers import DEAD_AFTER


@dataclass(frozen=True, slots=True)
class RunningJob:
    """One of them; it may have ended since the beat, which is 2 s ago at most."""

    message_id: str
    actor: str
    queue: str
    since: datetime
    worker: str
    """Host and process id."""


def list_running(conn: Connection) -> list[RunningJob]:
    """Return them, who runs for longest first; those of silent workers are nowhere any more."""
    query = """
        SELECT host || ':' || pid, running
          FROM workshed.workers
         WHERE beat_at >= workshed.now() - %s AND running <> '[]'
    """
    rows = conn.execute(query, (DEAD_AFTER,)).fetchall()
    found = [one for worker, told in rows for one in _read(worker, told)]
    return sorted(found, key=lambda one: (one.since, one.message_id))


def get_running(conn: Connection, message_id: str) -> RunningJob | None:
    """Return one of them."""
    return next((one for one in list_running(conn) if one.message_id == message_id), None)


def _read(worker: str, told: Any) -> Iterator[RunningJob]:
    """Read what a worker of another release may have written: what is not clear is left out."""
    for one in told if isinstance(told, list) else []:
        match one:
            case {"message_id": str(id_), "actor": str(actor), "queue": str(queue), "since": since}:
                at = _instant(since)
                if at is not None:
                    yield RunningJob(id_, actor, queue, at, worker)


def _instant(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None
