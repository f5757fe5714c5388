"""Preview what a retry of dead jobs would do, without changing anything."""

from collections.abc import Iterator, Sequence

import orjson

from workshed.database.postgres import Connection, class_row, database_now
from workshed.jobs.dead.dead_jobs import (
    DeadJob,
    DecodeBody,
    UnreadableJobError,
    decode_unreadable,
    redrive_body,
)
from workshed.value_class import value_class


@value_class
class RetryPreview:
    """How many jobs would do what."""

    jobs: int
    """Would run again."""
    waiting: int
    """Of these: would wait until another job releases their unique key."""
    unreadable: int
    """Would stay dead."""


def preview_retry(
    conn: Connection, ids: Sequence[str], read: DecodeBody | None = None
) -> RetryPreview:
    """Return what a retry of these jobs would do; those that are not dead do not count."""
    readable, unreadable, now = 0, 0, database_now(conn)
    keys: dict[str, str] = {}
    for row in _stream_rows(conn, ids):
        try:
            job = decode_unreadable(row, read)
            options = orjson.loads(redrive_body(job, now))["options"]
        except UnreadableJobError:
            unreadable += 1
            continue
        readable += 1
        if "unique_key" in options:
            keys[job.message_id] = str(options["unique_key"])
    return RetryPreview(readable, _count_waiting(conn, keys), unreadable)


def _stream_rows(conn: Connection, ids: Sequence[str]) -> Iterator[DeadJob]:
    """Stream the rows, because each body may have a megabyte."""
    query = """
        SELECT d.message_id, d.generation, d.attempt, d.queue, d.actor, d.body, d.reason,
               d.error_class,
               d.error_location, d.release, d.died_at
          FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (message_id, number)
          JOIN workshed.dead AS d USING (message_id)
         ORDER BY wanted.number
    """
    with conn.cursor(row_factory=class_row(DeadJob)) as cur:
        yield from cur.stream(query, (list(ids),))


def _count_waiting(conn: Connection, keys: dict[str, str]) -> int:
    """Count the jobs that would not get their key at once; `keys`: by ID, in order of retry.

    Of several jobs with one key, that is all but one. A key that a job still has itself is no
    obstacle.
    """
    query = """
        SELECT count(*) FILTER (WHERE CASE WHEN lock.key IS NULL THEN wanted.turn > 1
                                           ELSE lock.message_id <> wanted.message_id END)
          FROM (SELECT message_id, key,
                       row_number() OVER (PARTITION BY key ORDER BY number) AS turn
                  FROM unnest(%(ids)s::text[], %(keys)s::text[]) WITH ORDINALITY
                       AS given (message_id, key, number)) AS wanted
          LEFT JOIN workshed.unique_locks AS lock
            ON lock.key = wanted.key
           AND (lock.expires_at IS NULL OR lock.expires_at > workshed.now())
    """
    [(number,)] = conn.execute(query, {"ids": [*keys], "keys": [*keys.values()]})
    return int(number)
