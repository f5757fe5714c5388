"""The worker processes that live, by their heartbeat, and how far each queue is worked off."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from workshed.db import Connection

DEAD_AFTER = timedelta(seconds=10)
"""A worker that has not beaten for this long has died: RabbitMQ has what it held."""


@dataclass(frozen=True, slots=True)
class Process:
    """What a worker process is."""

    id: UUID
    host: str
    pid: int
    threads: int
    release: str


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What a worker process says of one queue. Times are those of a publish, by its sender."""

    queue: str
    waiting: datetime | None
    """The oldest that it has not started."""
    held: datetime | None
    """The oldest that it has, running or not."""
    got: datetime | None
    """The newest it got since its last beat for the first time, of the lowest priority."""
    got_ago: timedelta
    """How long ago that was."""
    returned: datetime | None
    """The oldest that has gone back to RabbitMQ since its last beat."""


State = Literal["alive", "quiet", "silent"]


@dataclass(frozen=True, slots=True)
class Worker:
    """A row of `workshed.workers`."""

    id: str
    host: str
    pid: int
    queues: list[str]
    busy: int
    threads: int
    release: str
    started_at: datetime
    beat_at: datetime
    alive: bool
    running: list[dict[str, Any]]
    """Its jobs as of its last beat: `message_id`, `actor`, `queue`, `since`."""
    memory_bytes: int | None
    quiet_at: datetime | None
    """Since when somebody wants it to start nothing more."""

    @property
    def name(self) -> str:
        """Host and process id, as the history has it."""
        return f"{self.host}:{self.pid}"

    @property
    def state(self) -> State:
        """Tell whether it beats, and whether it is to start jobs."""
        if not self.alive:
            return "silent"
        return "alive" if self.quiet_at is None else "quiet"


def record_heartbeat(
    conn: Connection,
    process: Process,
    busy: int,
    held: Sequence[QueueReport],
    *,
    running: Sequence[dict[str, Any]] = (),
    memory_bytes: int | None = None,
) -> bool:
    """Say that a worker lives, what it holds, and how far it has got in its queues.

    Returns whether somebody wants it quiet. `running`: as in a `Worker`.

    In a queue that is first in, first out, nothing older waits once a message was delivered for the
    first time; but one that goes back waits again.
    """
    query = """
        INSERT INTO workshed.workers
               (id, host, pid, threads, release, busy, running, memory_bytes, queues,
                oldest_waiting, oldest_held)
        VALUES (%(id)s, %(host)s, %(pid)s, %(threads)s, %(release)s, %(busy)s, %(running)s,
                %(memory)s, %(queues)s::text[], %(waiting)s::timestamptz[],
                %(held)s::timestamptz[])
        ON CONFLICT (id) DO UPDATE
           SET beat_at = workshed.now(), expired_at = NULL, busy = EXCLUDED.busy,
               running = EXCLUDED.running, memory_bytes = EXCLUDED.memory_bytes,
               queues = EXCLUDED.queues,
               oldest_waiting = EXCLUDED.oldest_waiting, oldest_held = EXCLUDED.oldest_held
        RETURNING quiet_at IS NOT NULL
    """
    values = {
        "id": process.id,
        "host": process.host,
        "pid": process.pid,
        "threads": process.threads,
        "release": process.release,
        "busy": busy,
        "running": Jsonb(list(running)),
        "memory": memory_bytes,
        "queues": [one.queue for one in held],
        "waiting": [one.waiting for one in held],
        "held": [one.held for one in held],
    }
    news = [one for one in held if one.got is not None or one.returned is not None]
    with conn.transaction():  # what is no longer held here waits on RabbitMQ again, or is done
        found = conn.execute(query, values).fetchone()
        if news:
            record_watermarks(conn, news)
    return bool(found and found[0])


def quiet_worker(conn: Connection, worker_id: str) -> bool:
    """Let a worker start nothing more (within 3 s); False when no such worker is known.

    What it has not started goes back to its queues, and what runs there ends.
    """
    query = """
        UPDATE workshed.workers SET quiet_at = COALESCE(quiet_at, workshed.now())
         WHERE id::text = %s
    """
    return conn.execute(query, (worker_id,)).rowcount > 0


def resume_worker(conn: Connection, worker_id: str) -> bool:
    """Let it start jobs again; False when no such worker is known."""
    query = "UPDATE workshed.workers SET quiet_at = NULL WHERE id::text = %s"
    return conn.execute(query, (worker_id,)).rowcount > 0


def record_watermarks(conn: Connection, news: Sequence[QueueReport]) -> None:
    """Note how far queues are worked off, and what went back to them."""
    query = """
        WITH news AS (
            SELECT * FROM unnest(%(queues)s::text[], %(got)s::timestamptz[], %(ago)s::interval[],
                                 %(returned)s::timestamptz[]) AS n (queue, got, ago, returned)
        ), turn AS MATERIALIZED (
            SELECT name, news.returned, GREATEST(oldest_possible_publish_at, CASE
                       -- What was delivered before something came back says nothing of that.
                       WHEN last_requeued_at IS NULL OR last_requeued_at < workshed.now() - news.ago
                       -- And a sender's clock that is ahead makes nothing younger than it is.
                       THEN LEAST(news.got, workshed.now() - news.ago) END) AS oldest
              FROM workshed.queues
              JOIN news ON news.queue = name
             -- All workers of a queue say nearly the same: once a second will do.
             WHERE news.returned IS NOT NULL
                OR news.got > oldest_possible_publish_at + interval '1 second'
             ORDER BY name  -- all processes lock in one order
               FOR NO KEY UPDATE OF queues
        )
        UPDATE workshed.queues AS q
           SET oldest_possible_publish_at = LEAST(turn.oldest, turn.returned),
               last_requeued_at = CASE WHEN turn.returned IS NULL THEN q.last_requeued_at
                                       ELSE workshed.now() END
          FROM turn
         WHERE turn.name = q.name
    """
    values = {
        "queues": [one.queue for one in news],
        "got": [one.got for one in news],
        "ago": [one.got_ago for one in news],
        "returned": [one.returned for one in news],
    }
    conn.execute(query, values)


def delete_worker(conn: Connection, worker: UUID) -> None:
    """Say that a worker has ended in good order."""
    conn.execute("DELETE FROM workshed.workers WHERE id = %s", (worker,))


def expire_silent(conn: Connection) -> int:
    """Note that what silent workers held has gone back to its queues; return how many died."""
    query = """
        WITH dead AS (
            UPDATE workshed.workers
               SET expired_at = workshed.now()
             WHERE id IN (
                   SELECT id FROM workshed.workers
                    WHERE beat_at < workshed.now() - %(after)s AND expired_at IS NULL
                      FOR UPDATE SKIP LOCKED)
            RETURNING queues, oldest_held
        ), turn AS MATERIALIZED (
            SELECT name
              FROM workshed.queues
             WHERE name IN (SELECT unnest(queues) FROM dead)
             ORDER BY name
               FOR NO KEY UPDATE
        ), back AS (
            SELECT one.queue, min(one.since) AS since
              FROM dead, unnest(dead.queues, dead.oldest_held) AS one (queue, since)
             WHERE one.since IS NOT NULL AND one.queue IN (SELECT name FROM turn)
             GROUP BY 1
        ), noted AS (
            UPDATE workshed.queues
               SET oldest_possible_publish_at = LEAST(oldest_possible_publish_at, back.since),
                   last_requeued_at = workshed.now()
              FROM back
             WHERE name = back.queue
        )
        SELECT count(*) FROM dead
    """
    found = conn.execute(query, {"after": DEAD_AFTER}).fetchone()
    return 0 if found is None else int(found[0])


def seen_empty(conn: Connection, queue: str, at: datetime) -> None:
    """Note that a queue had no message at `at` that no worker had."""
    query = """
        UPDATE workshed.queues SET oldest_possible_publish_at = %(at)s, last_requeued_at = NULL
         WHERE name = %(queue)s AND oldest_possible_publish_at < %(at)s
           AND (last_requeued_at < %(at)s) IS NOT FALSE
    """
    conn.execute(query, {"queue": queue, "at": at})


def waiting_ages(conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
    """Return of each queue two ages: of what waits on RabbitMQ, at most, and of the rest.

    The latter is the oldest job that is due in PostgreSQL, or unstarted with a living worker.
    """
    query = """
        WITH elsewhere AS (
            SELECT queue, min(due_at) AS since
              FROM workshed.schedule
             WHERE claimed_by IS NULL AND sent_at IS NULL AND due_at <= workshed.now()
             GROUP BY queue
            UNION ALL
            SELECT queue, min(due_at) FROM workshed.schedule WHERE claimed_by IS NOT NULL
             GROUP BY queue
            UNION ALL
            SELECT one.queue, one.since
              FROM workshed.workers, unnest(queues, oldest_waiting) AS one (queue, since)
             WHERE beat_at >= workshed.now() - %(after)s
        )
        SELECT name, workshed.now() - oldest_possible_publish_at,
               (SELECT workshed.now() - min(since) FROM elsewhere WHERE queue = name)
          FROM workshed.queues
    """
    rows = conn.execute(query, {"after": DEAD_AFTER}).fetchall()
    return {name: (passed, oldest) for name, passed, oldest in rows}


def list_workers(conn: Connection) -> list[Worker]:
    """Return the workers, those that are silent included until they are forgotten."""
    query = """
        SELECT id::text, host, pid, queues, busy, threads, release, started_at, beat_at,
               beat_at >= workshed.now() - %(after)s AS alive, running, memory_bytes, quiet_at
          FROM workshed.workers
         ORDER BY host, started_at, pid
    """
    with conn.cursor(row_factory=class_row(Worker)) as cur:
        return cur.execute(query, {"after": DEAD_AFTER}).fetchall()


def prune_workers(conn: Connection, silent_for: timedelta) -> int:
    """Delete workers that have been silent for long; return how many."""
    query = (
        "DELETE FROM workshed.workers WHERE beat_at < workshed.now() - %s "
        "AND expired_at IS NOT NULL"
    )
    return conn.execute(query, (silent_for,)).rowcount
