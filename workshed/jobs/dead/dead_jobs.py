"""Dead jobs: they do not run again unless an operator retries them."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, LiteralString

import orjson

from workshed.database.postgres import Connection, class_row, database_now, to_sql
from workshed.errors import WorkshedError
from workshed.jobs.control import cancellations
from workshed.jobs.dead import error_location
from workshed.jobs.history.attempts import to_storable
from workshed.jobs.names import Names, to_name_array
from workshed.pruning import delete_old_rows
from workshed.settings import settings
from workshed.value_class import value_class

DecodeBody = Callable[[bytes, str], Any]
"""Decodes a body, given its queue; raises `WorkshedError` if it cannot."""

UNREADABLE_PREFIX = "unreadable:"
UNDECODED_CLASS = "EnvelopeError"
"""The error class of a message that could not be decoded, but whose signature was accepted."""
ID_DIGITS = 25
"""Digits of the body's SHA-256, so that the name is as long as every other ID."""
LONGEST_CLASS = 200
"""Longest stored error class: an index of PostgreSQL holds no more than 2704 bytes."""
UNREADABLE_ACTOR = "(unreadable)"
"""Replaces the actor in the record of a message without a readable one."""


class UnreadableJobError(WorkshedError):
    """An unreadable message cannot run again; it can be inspected and discarded."""

    def __init__(self, message_id: str, why: str) -> None:
        super().__init__(
            f"{message_id} was not taken for a job ({why}), so it cannot be retried: look at it "
            "with `workshed dead show`, send the job again with `workshed enqueue`, and discard "
            "this one"
        )


@value_class
class DeadJob:
    """A row of `workshed.dead`; `actor` is `None` if the message could not be read."""

    message_id: str
    generation: int
    attempt: int
    queue: str
    actor: str | None
    body: bytes
    reason: str
    error_class: str | None
    error_location: str | None
    """Where its program failed: `mail/smtp.py:12 in deliver`."""
    release: str | None
    """Release of the program in which it died."""
    died_at: datetime


@value_class
class DeadFilter:
    """A filter of dead jobs; fields that are `None` match all."""

    queue: Names = None
    actor: Names = None
    """`-` for messages without a readable actor."""
    error: Names = None
    """Class of the error; `-` for no error."""
    since: timedelta | None = None
    """Died at most this long ago."""
    error_location: str | None = None
    """Where the program failed; `-` if unknown."""


ANY = DeadFilter()
FILTER_SQL: LiteralString = """
           (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s))
       AND (%(actors)s::text[] IS NULL OR COALESCE(actor, '-') = ANY (%(actors)s))
       AND (%(errors)s::text[] IS NULL OR COALESCE(error_class, '-') = ANY (%(errors)s))
       AND (%(error_location)s::text IS NULL OR COALESCE(error_location, '-') = %(error_location)s)
       AND (%(since)s::interval IS NULL OR died_at >= workshed.now() - %(since)s)
"""
"""A condition on `workshed.dead`, with the values of `filter_parameters(which)`."""


@value_class
class ErrorClassGroup:
    """The dead jobs of one error class."""

    error_class: str | None
    count: int
    actors: list[str]
    first_at: datetime
    last_at: datetime


def add_dead_job(  # noqa: PLR0913 -- a row has this many columns
    conn: Connection,
    *,
    message_id: str,
    generation: int,
    attempt: int,
    queue: str,
    actor: str | None,
    body: bytes,
    reason: str,
    error: BaseException | None = None,
    error_class: str | None = None,
) -> None:
    """Store a job as it came, with why it died; one row per message, for its latest death.

    `error_class` names the class of an error that another program raised.

    An unreadable message (`actor` is `None`) may claim any ID, even that of a dead job. Its row
    therefore gets an ID from its body, and the reason contains the claimed ID.
    """
    query = """
        INSERT INTO workshed.dead (message_id, generation, attempt, queue, actor, body, reason,
                                   error_class,
                               error_location, release)
        VALUES (%(message_id)s, %(generation)s, %(attempt)s, %(queue)s, %(actor)s, %(body)s,
                %(reason)s,
                %(error_class)s, %(error_location)s, %(release)s)
        ON CONFLICT (message_id) DO UPDATE
           SET generation = EXCLUDED.generation, attempt = EXCLUDED.attempt, queue = EXCLUDED.queue,
               actor = EXCLUDED.actor, body = EXCLUDED.body, reason = EXCLUDED.reason,
               error_class = EXCLUDED.error_class, error_location = EXCLUDED.error_location,
               release = EXCLUDED.release, died_at = workshed.now()
    """
    if actor is None:
        reason = f"{reason} (it came as {message_id!r})"
        message_id = UNREADABLE_PREFIX + hashlib.sha256(body).hexdigest()[:ID_DIGITS]
    if error is not None:
        error_class = type(error).__name__
    values = {
        "message_id": message_id,
        "generation": generation,
        "attempt": attempt,
        "queue": queue,
        "actor": actor,
        "body": body,
        "reason": to_storable(reason),
        "error_class": None if error_class is None else to_storable(error_class)[:LONGEST_CLASS],
        "error_location": error_location.locate_error(error),
        "release": settings().release or None,
    }
    conn.execute(query, values)


def retry_job(conn: Connection, message_id: str, read: DecodeBody | None = None) -> bool:
    """Retry a dead job: due now, with all of its attempts.

    It runs even if it was cancelled before, by its ID or a rule. `read` decodes a message that was
    unreadable, because that may be from a newer release than the worker that received it.

    False if there is no such dead job, or another call was first. Raises `UnreadableJobError`.
    """
    # One statement, so that a crash cannot lose the job, even if `conn` is in autocommit.
    query = """
        WITH moved AS (
            DELETE FROM workshed.dead
             WHERE message_id = %(dead)s AND generation = %(dead_generation)s
            RETURNING queue
        ), pending_again AS (
            UPDATE workshed.batch_jobs AS j
               SET state = 'pending', ended_at = NULL
              FROM moved
             WHERE j.message_id = %(message_id)s AND j.state = 'dead'
        )
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        SELECT %(message_id)s, %(generation)s, queue, %(actor)s, %(body)s, 'redriven',
               workshed.now()
          FROM moved
    """
    row = get_dead_job(conn, message_id)
    if row is None:
        return False
    job = decode_unreadable(row, read)
    values = {
        "dead": row.message_id,
        "dead_generation": row.generation,
        "message_id": job.message_id,
        "generation": job.generation + 1,
        "actor": job.actor,
        "body": redrive_body(job, database_now(conn)),
    }
    cancellations.clear_cancellation(conn, job.message_id)
    return conn.execute(query, values).rowcount > 0


def discard_job(conn: Connection, message_id: str, reason: str) -> bool:
    """Delete a dead job, and record who did that or why; False if there is no such dead job."""
    query = """
        WITH gone AS (
            DELETE FROM workshed.dead
             WHERE message_id = %(message_id)s
            RETURNING message_id, generation, attempt, queue, actor
        ), given_up AS (  -- of a batch: it cannot be retried any more
            UPDATE workshed.batch_jobs AS j
               SET state = 'cancelled', ended_at = workshed.now()
              FROM gone
             WHERE j.message_id = gone.message_id AND j.state = 'dead'
        )
        INSERT INTO workshed.attempts (message_id, generation, attempt, queue, actor, outcome,
                                       reason)
        SELECT message_id, generation, attempt, queue, COALESCE(actor, %(unreadable)s), 'discarded',
               %(reason)s
          FROM gone
    """
    values = {
        "message_id": message_id,
        "unreadable": UNREADABLE_ACTOR,
        "reason": to_storable(reason),
    }
    return conn.execute(query, values).rowcount > 0


def get_dead_job(conn: Connection, message_id: str) -> DeadJob | None:
    """Return one dead job."""
    query = """
        SELECT message_id, generation, attempt, queue, actor, body, reason, error_class,
               error_location, release,
               died_at
          FROM workshed.dead
         WHERE message_id = %s
    """
    with conn.cursor(row_factory=class_row(DeadJob)) as cur:
        return cur.execute(query, (message_id,)).fetchone()


def list_dead_jobs(
    conn: Connection,
    dead_filter: DeadFilter = ANY,
    *,
    before: tuple[datetime, str] | None = None,
    limit: int = 100,
) -> list[DeadJob]:
    """Return dead jobs, latest first.

    `before`: time of death and ID of the last job of the previous page.
    """
    query = to_sql("""
        SELECT message_id, generation, attempt, queue, actor, body, reason, error_class,
               error_location, release,
               died_at
          FROM workshed.dead
         WHERE {}
           AND (%(at)s::timestamptz IS NULL OR (died_at, message_id) < (%(at)s, %(id)s::text))
         ORDER BY died_at DESC, message_id DESC
         LIMIT %(limit)s
    """).format(to_sql(FILTER_SQL))
    at, message_id = before or (None, None)
    values = {**filter_parameters(dead_filter), "at": at, "id": message_id, "limit": limit}
    with conn.cursor(row_factory=class_row(DeadJob)) as cur:
        return cur.execute(query, values).fetchall()


def list_ids(
    conn: Connection,
    dead_filter: DeadFilter,
    *,
    until: datetime | None = None,
    limit: int | None = None,
) -> list[str]:
    """Return the IDs of matching dead jobs, oldest death first; none that died after `until`."""
    query = to_sql("""
        SELECT message_id
          FROM workshed.dead
         WHERE {}
           AND (%(until)s::timestamptz IS NULL OR died_at <= %(until)s)
         ORDER BY died_at, message_id
         LIMIT %(limit)s
    """).format(to_sql(FILTER_SQL))
    values = {**filter_parameters(dead_filter), "until": until, "limit": limit}
    return [message_id for (message_id,) in conn.execute(query, values)]


def group_by_error(conn: Connection, dead_filter: DeadFilter = ANY) -> list[ErrorClassGroup]:
    """Group dead jobs by error class, largest group first."""
    query = to_sql("""
        SELECT error_class, count(*) AS count,
               array_agg(DISTINCT COALESCE(actor, %(unreadable)s)) AS actors,
               min(died_at) AS first_at, max(died_at) AS last_at
          FROM workshed.dead
         WHERE {}
         GROUP BY error_class
         ORDER BY count(*) DESC, error_class
    """).format(to_sql(FILTER_SQL))
    with conn.cursor(row_factory=class_row(ErrorClassGroup)) as cur:
        return cur.execute(
            query, {**filter_parameters(dead_filter), "unreadable": UNREADABLE_ACTOR}
        ).fetchall()


def count_dead_jobs(conn: Connection, dead_filter: DeadFilter = ANY) -> int:
    """Count the matching dead jobs."""
    return sum(group.count for group in group_by_error(conn, dead_filter))


def count_at_most(conn: Connection, dead_filter: DeadFilter = ANY, *, most: int) -> int:
    """Count the matching dead jobs, but at most up to `most`."""
    query = to_sql("""
        SELECT count(*)
          FROM (SELECT
                  FROM workshed.dead
                 WHERE {}
                 LIMIT %(most)s) AS counted
    """).format(to_sql(FILTER_SQL))
    [(number,)] = conn.execute(query, {**filter_parameters(dead_filter), "most": most})
    return int(number)


def count_dead_ids(conn: Connection, ids: Sequence[str]) -> int:
    """Return how many of these jobs are dead."""
    query = "SELECT count(*) FROM workshed.dead WHERE message_id = ANY (%s)"
    [(number,)] = conn.execute(query, (list(ids),))
    return int(number)


def count_dead_by_queue(conn: Connection) -> dict[str, int]:
    """Return the number of dead jobs of each queue."""
    return dict(conn.execute("SELECT queue, count(*) FROM workshed.dead GROUP BY queue").fetchall())


def newest_death_ages(conn: Connection) -> dict[str, timedelta]:
    """Return how long ago the newest dead job of each queue died."""
    query = "SELECT queue, workshed.now() - max(died_at) FROM workshed.dead GROUP BY queue"
    return dict(conn.execute(query).fetchall())


def prune_dead_jobs(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete dead jobs that are older than that, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.dead", "died_at", older_than, limit)


def filter_parameters(dead_filter: DeadFilter) -> dict[str, Any]:
    """Return the parameters of `FILTER_SQL`."""
    return {
        "queues": to_name_array(dead_filter.queue),
        "actors": to_name_array(dead_filter.actor),
        "errors": to_name_array(dead_filter.error),
        "since": dead_filter.since,
        "error_location": dead_filter.error_location,
    }


def decode_unreadable(row: DeadJob, read: DecodeBody | None) -> DeadJob:
    """Return a row with the ID and the actor of its message, if that can be decoded now.

    Raises `UnreadableJobError`, also for a message with a wrong signature, which must not run even
    if it can be decoded.
    """
    if row.actor is not None:
        return row
    if read is None or row.error_class != UNDECODED_CLASS:
        raise UnreadableJobError(row.message_id, row.reason)
    try:
        message = read(row.body, row.queue)
    except WorkshedError as err:
        raise UnreadableJobError(row.message_id, str(err)) from None
    generation = int(message.options.get("generation", 0))
    return replace(
        row, message_id=message.message_id, generation=generation, actor=message.actor_name
    )


def redrive_body(row: DeadJob, now: datetime) -> str:
    """Return the body of the next generation; copies of earlier ones are then duplicates.

    Raises `UnreadableJobError`.
    """
    try:
        fields = orjson.loads(row.body)
        redriven = int(now.timestamp() * 1000)
        fields["options"].update(attempt=1, generation=row.generation + 1, redriven=redriven)
        if "unique_key" in fields["options"]:  # freed when it died, so another job may have it
            fields["options"]["awaiting_unique_key"] = True
        for counted in ("failures", "failing_since"):
            fields["options"].pop(counted, None)
    except (ValueError, TypeError, KeyError, AttributeError) as err:
        raise UnreadableJobError(row.message_id, f"{type(err).__name__}: {err}") from None
    return orjson.dumps(fields).decode()
