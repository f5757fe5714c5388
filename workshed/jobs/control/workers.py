"""Live worker processes, by their heartbeats, and how far each queue has been consumed."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from workshed.database.postgres import Connection, class_row, to_jsonb
from workshed.value_class import value_class

DEAD_AFTER = timedelta(seconds=10)
QUIET_FOR = timedelta(hours=1)
"""A worker without a heartbeat for this long has died: RabbitMQ has requeued its deliveries."""


@value_class
class WorkerIdentity:
    """A worker process."""

    id: UUID
    host: str
    pid: int
    threads: int
    release: str


@value_class
class QueueReport:
    """A worker's report about one queue. Times are publish times, by the senders' clocks."""

    queue: str
    oldest_waiting: datetime | None
    """Of the oldest job that it has not started."""
    oldest_held: datetime | None
    """Of the oldest job that it holds, running or not."""
    newest_first_delivery: datetime | None
    """Of the newest lowest-priority job that arrived for the first time since its last beat."""
    newest_delivery_age: timedelta
    """How long ago that job arrived."""
    oldest_requeued: datetime | None
    """Of the oldest job that was requeued since its last beat."""


WorkerState = Literal["alive", "quiet", "silent"]


@value_class
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
    """Since when it should start no more jobs."""

    @property
    def name(self) -> str:
        """Host and process ID, as in the history."""
        return f"{self.host}:{self.pid}"

    @property
    def state(self) -> WorkerState:
        """Whether it sends heartbeats, and whether it may start jobs."""
        if not self.alive:
            return "silent"
        return "alive" if self.quiet_at is None else "quiet"


def record_heartbeat(
    conn: Connection,
    process: WorkerIdentity,
    busy: int,
    watermarks: Sequence[QueueReport],
    *,
    running: Sequence[dict[str, Any]] = (),
    memory_bytes: int | None = None,
) -> bool:
    """Record that a worker is alive, what it holds, and how far it has consumed its queues.

    Returns whether it should be quiet. `running`: as in `Worker`.

    In a first-in, first-out queue, no older message waits once a message was delivered for the
    first time, except for messages that were requeued.
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
        "running": to_jsonb(list(running)),
        "memory": memory_bytes,
        "queues": [one.queue for one in watermarks],
        "waiting": [one.oldest_waiting for one in watermarks],
        "held": [one.oldest_held for one in watermarks],
    }
    news = [
        one
        for one in watermarks
        if one.newest_first_delivery is not None or one.oldest_requeued is not None
    ]
    with conn.transaction():  # together: a job no longer held here may wait on RabbitMQ again
        found = conn.execute(query, values).fetchone()
        if news:
            record_watermarks(conn, news)
    return bool(found and found[0])


def quiet_worker(conn: Connection, worker_id: str) -> bool:
    """Make a worker start no more jobs (within 3 s); False if it is unknown.

    Its waiting jobs go back to their queues, and its running jobs finish.
    """
    query = """
        UPDATE workshed.workers SET quiet_at = COALESCE(quiet_at, workshed.now())
         WHERE id::text = %s
    """
    return conn.execute(query, (worker_id,)).rowcount > 0


def resume_worker(conn: Connection, worker_id: str) -> bool:
    """Let a worker start jobs again; False if it is unknown."""
    query = "UPDATE workshed.workers SET quiet_at = NULL WHERE id::text = %s"
    return conn.execute(query, (worker_id,)).rowcount > 0


def record_watermarks(conn: Connection, news: Sequence[QueueReport]) -> None:
    """Record how far queues have been consumed, and what was requeued."""
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
        "got": [one.newest_first_delivery for one in news],
        "ago": [one.newest_delivery_age for one in news],
        "returned": [one.oldest_requeued for one in news],
    }
    conn.execute(query, values)


def delete_worker(conn: Connection, worker: UUID) -> None:
    """Record that a worker has shut down gracefully."""
    conn.execute("DELETE FROM workshed.workers WHERE id = %s", (worker,))


def expire_silent(conn: Connection) -> int:
    """Record that silent workers' deliveries went back to their queues; return how many died."""
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


def record_empty_queue(conn: Connection, queue: str, at: datetime) -> None:
    """Record that at `at` all messages of a queue were held by workers, or there were none."""
    query = """
        UPDATE workshed.queues SET oldest_possible_publish_at = %(at)s, last_requeued_at = NULL
         WHERE name = %(queue)s AND oldest_possible_publish_at < %(at)s
           AND (last_requeued_at < %(at)s) IS NOT FALSE
    """
    conn.execute(query, {"queue": queue, "at": at})


def waiting_ages(conn: Connection) -> dict[str, tuple[timedelta, timedelta | None]]:
    """Return two ages per queue: an upper bound for jobs that wait on RabbitMQ, and of the rest.

    The latter is the age of the oldest job that is due in PostgreSQL, or waits in a live worker.
    """
    query = """
        WITH elsewhere AS (
            SELECT queue, min(due_at) AS since
              FROM workshed.schedule
             WHERE claimed_by IS NULL AND sent_at IS NULL AND due_at <= workshed.now()
             GROUP BY queue
            UNION ALL
            SELECT queue, min(due_at) FROM workshed.schedule
             WHERE claimed_by IS NOT NULL  -- and not by a worker, which says itself what waits
               AND NOT EXISTS (SELECT FROM workshed.workers WHERE id = claimed_by)
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
    """Return the workers, including silent ones until they are deleted."""
    query = """
        SELECT id::text, host, pid, queues, busy, threads, release, started_at, beat_at,
               beat_at >= workshed.now() - %(after)s AS alive, running, memory_bytes, quiet_at
          FROM workshed.workers
         ORDER BY host, started_at, pid
    """
    with conn.cursor(row_factory=class_row(Worker)) as cur:
        return cur.execute(query, {"after": DEAD_AFTER}).fetchall()


def count_consumers(conn: Connection) -> dict[str, int]:
    """Return how many living workers consume each queue."""
    query = """
        SELECT queue, count(*)
          FROM workshed.workers, unnest(queues) AS queue
         WHERE beat_at >= workshed.now() - %(after)s
         GROUP BY queue
    """
    return dict(conn.execute(query, {"after": DEAD_AFTER}).fetchall())


def prune_workers(conn: Connection, silent_for: timedelta) -> int:
    """Delete workers that have been silent for so long; return how many.

    A quiet one stays for an hour: if it has only lost PostgreSQL, it must find that it is quiet.
    """
    query = """
        DELETE FROM workshed.workers
         WHERE beat_at < workshed.now() - %(silent_for)s AND expired_at IS NOT NULL
           AND (quiet_at IS NULL OR beat_at < workshed.now() - %(quiet_for)s)
    """
    return conn.execute(query, {"silent_for": silent_for, "quiet_for": QUIET_FOR}).rowcount
