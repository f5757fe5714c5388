"""The jobs that are running, as of the last heartbeat of their workers."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from workshed.database.postgres import Connection
from workshed.jobs.control.workers import DEAD_AFTER
from workshed.value_class import value_class


@value_class
class RunningJob:
    """A running job; it may have ended since the heartbeat, which is at most 2 s ago."""

    message_id: str
    actor: str
    queue: str
    since: datetime
    worker: str
    """HOST:PID."""


def list_running(conn: Connection) -> list[RunningJob]:
    """Return the running jobs, the longest running first; not those of silent workers."""
    query = """
        SELECT host || ':' || pid, running
          FROM workshed.workers
         WHERE beat_at >= workshed.now() - %s AND running <> '[]'
    """
    rows = conn.execute(query, (DEAD_AFTER,)).fetchall()
    found = [one for worker, reported in rows for one in _parse_running(worker, reported)]
    return sorted(found, key=lambda one: (one.since, one.message_id))


def get_running(conn: Connection, message_id: str) -> RunningJob | None:
    """Return a running job by id."""
    return next((one for one in list_running(conn) if one.message_id == message_id), None)


def _parse_running(worker: str, reported: Any) -> Iterator[RunningJob]:
    """Parse the jobs of a worker, perhaps of another release; skip entries that do not parse."""
    for one in reported if isinstance(reported, list) else []:
        match one:
            case {"message_id": str(id_), "actor": str(actor), "queue": str(queue), "since": since}:
                at = _parse_time(since)
                if at is not None:
                    yield RunningJob(id_, actor, queue, at, worker)


def _parse_time(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None
