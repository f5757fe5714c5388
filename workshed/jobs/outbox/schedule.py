"""The schedule: the table of every message that is not on RabbitMQ yet."""

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta
from typing import Literal, LiteralString, cast, overload

import orjson

from workshed.database.adapters import AsyncConnection, Steps, SyncConnection, run_on
from workshed.database.postgres import Connection, Statement, class_row
from workshed.errors import WorkshedError
from workshed.jobs.names import Names, to_name_array
from workshed.value_class import value_class

Reason = Literal[
    "transactional",
    "delayed",
    "retry",
    "snoozed",
    "outbox_lease",
    "broker_down",
    "interrupted",
    "unknown_actor",
    "redriven",
]
MoveResult = Literal["moved", "on its way", "unknown"]


@value_class
class OutboxRow:
    """A message and when it is due. `body` is its JSON, as it will travel."""

    message_id: str
    generation: int
    queue: str
    actor: str
    body: str
    reason: Reason
    possible_duplicate: bool = False
    """RabbitMQ may have a copy of this generation already."""


@value_class
class ScheduledJob:
    """A row for people to read."""

    message_id: str
    generation: int
    queue: str
    actor: str
    body: str
    reason: Reason
    due_at: datetime
    taken: bool


SchedulePosition = tuple[datetime, str, int]
"""Position of a row in due order: its `due_at`, `message_id` and `generation`."""


def choose_reason(delay: timedelta | None, at: datetime | None) -> Reason:
    """Return the reason of a send; raises `WorkshedError` for two times, or one without a zone."""
    if delay is not None and at is not None:
        raise WorkshedError("give `delay` or `at`, not both")
    if at is not None and at.tzinfo is None:
        raise WorkshedError(f"`at` needs a time zone: {at.isoformat()}")
    return "transactional" if delay is None and at is None else "delayed"


def insert_row(
    conn: Connection, row: OutboxRow, *, delay: timedelta = timedelta(), at: datetime | None = None
) -> None:
    """Store a message that is due at `at`, or after `delay`.

    Raises `psycopg.errors.UniqueViolation` if this generation of the message is stored already.
    """
    conn.execute(*insert_statement(row, delay, at))


def insert_statement(row: OutboxRow, delay: timedelta, at: datetime | None) -> Statement:
    """Return the statement of `insert_row`, for other types of connections."""
    query: LiteralString = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason,
                                       possible_duplicate, due_at)
        VALUES (%(message_id)s, %(generation)s, %(queue)s, %(actor)s, %(body)s, %(reason)s,
                %(possible_duplicate)s,
                COALESCE(%(at)s, workshed.now() + %(delay)s))
    """
    values = {
        "message_id": row.message_id,
        "generation": row.generation,
        "queue": row.queue,
        "actor": row.actor,
        "body": row.body,
        "reason": row.reason,
        "possible_duplicate": row.possible_duplicate,
        "at": at,
        "delay": delay,
    }
    return Statement(query, values)


def insert_many(conn: Connection, rows: Sequence[OutboxRow], delay: timedelta) -> None:
    """Store messages that are due after `delay`, in one statement; raises like `insert_row`."""
    conn.execute(*insert_many_statement(rows, delay, None))


def insert_many_statement(
    rows: Sequence[OutboxRow], delay: timedelta, at: datetime | None
) -> Statement:
    """Return the statement that stores messages which are due at `at`, or after `delay`.

    The bodies are one JSON array, because a driver quotes each text of an array with a regular
    expression, which takes longer than all the rest.
    """
    query: LiteralString = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason,
                                       possible_duplicate, due_at)
        SELECT r.*, COALESCE(%(at)s::timestamptz, workshed.now() + %(delay)s::interval)
          FROM unnest(%(ids)s::text[], %(generations)s::int[], %(queues)s::text[],
                      %(actors)s::text[],
                      ARRAY(SELECT value
                              FROM json_array_elements_text(%(bodies)s::json)
                                   WITH ORDINALITY AS b (value, place)
                             ORDER BY place),
                      %(reasons)s::text[], %(possible_duplicate)s::bool[]) AS r
    """
    values = {
        "ids": [row.message_id for row in rows],
        "generations": [row.generation for row in rows],
        "queues": [row.queue for row in rows],
        "actors": [row.actor for row in rows],
        "bodies": orjson.dumps([row.body for row in rows]).decode(),
        "reasons": [row.reason for row in rows],
        "possible_duplicate": [row.possible_duplicate for row in rows],
        "at": at,
        "delay": delay,
    }
    return Statement(query, values)


@overload
def run_now(conn: AsyncConnection, message_id: str) -> Awaitable[MoveResult]: ...


@overload
def run_now(conn: SyncConnection, message_id: str) -> MoveResult: ...


def run_now(
    conn: SyncConnection | AsyncConnection, message_id: str
) -> MoveResult | Awaitable[MoveResult]:
    """Make a waiting message due now, in the caller's transaction.

    `conn` is any connection that `schedule.send` takes; on an asyncio one, await this.
    """
    return run_on(conn, _move_steps(message_id, None))


@overload
def move_job(conn: AsyncConnection, message_id: str, at: datetime) -> Awaitable[MoveResult]: ...


@overload
def move_job(conn: SyncConnection, message_id: str, at: datetime) -> MoveResult: ...


def move_job(
    conn: SyncConnection | AsyncConnection, message_id: str, at: datetime
) -> MoveResult | Awaitable[MoveResult]:
    """Make a waiting message due at another time, which needs a time zone; else as `run_now`."""
    if at.tzinfo is None:
        raise ValueError(f"`at` needs a time zone: {at.isoformat()}")
    return run_on(conn, _move_steps(message_id, at))


def list_scheduled(
    conn: Connection,
    *,
    actor: Names = None,
    queue: str | None = None,
    after: SchedulePosition | None = None,
    limit: int = 100,
) -> list[ScheduledJob]:
    """Return waiting messages, next due first; only those after the position `after`, if given."""
    # Two parts, because the index by time has only unclaimed rows; claimed ones are few.
    query = """
        WITH waiting AS (
            SELECT *
              FROM workshed.schedule
             WHERE sent_at IS NULL AND claimed_by IS NULL
               AND (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
               AND (%(queue)s::text IS NULL OR queue = %(queue)s)
               AND (%(due_at)s::timestamptz IS NULL
                    OR (due_at, message_id, generation) > (%(due_at)s, %(message_id)s,
                                                           %(generation)s))
             ORDER BY due_at, message_id, generation
             LIMIT %(limit)s
        ), taken AS (
            SELECT *
              FROM workshed.schedule
             WHERE sent_at IS NULL AND claimed_by IS NOT NULL
               AND (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
               AND (%(queue)s::text IS NULL OR queue = %(queue)s)
               AND (%(due_at)s::timestamptz IS NULL
                    OR (due_at, message_id, generation) > (%(due_at)s, %(message_id)s,
                                                           %(generation)s))
        )
        SELECT message_id, generation, queue, actor, body, reason, due_at,
               claimed_by IS NOT NULL AS taken
          FROM (SELECT * FROM waiting UNION ALL SELECT * FROM taken) AS s
         ORDER BY due_at, message_id, generation
         LIMIT %(limit)s
    """
    due_at, message_id, generation = after or (None, None, None)
    values = {
        "actors": to_name_array(actor),
        "queue": queue,
        "due_at": due_at,
        "message_id": message_id,
        "generation": generation,
        "limit": limit,
    }
    with conn.cursor(row_factory=class_row(ScheduledJob)) as cur:
        return cur.execute(query, values).fetchall()


def count_unsent_by_queue(conn: Connection) -> dict[str, int]:
    """Return the number of messages that are not on RabbitMQ, by queue."""
    query = "SELECT queue, count(*) FROM workshed.schedule WHERE sent_at IS NULL GROUP BY queue"
    return dict(conn.execute(query).fetchall())


def count_scheduled(
    conn: Connection, *, actor: Names = None, queue: str | None = None, at_most: int
) -> int:
    """Return how many messages wait, counting up to `at_most`."""
    query = """
        SELECT count(*)
          FROM (SELECT
                  FROM workshed.schedule
                 WHERE sent_at IS NULL
                   AND (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
                   AND (%(queue)s::text IS NULL OR queue = %(queue)s)
                 LIMIT %(at_most)s) AS counted
    """
    values = {"actors": to_name_array(actor), "queue": queue, "at_most": at_most}
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return int(found[0])


def _move_steps(message_id: str, at: datetime | None) -> Steps[MoveResult]:
    """Change when a message is due, unless a relay has claimed it or its sender publishes it."""
    query: LiteralString = """
        WITH found AS (
            SELECT message_id, generation, claimed_by IS NULL AND reason <> 'outbox_lease' AS waits
              FROM workshed.schedule
             WHERE message_id = %(message_id)s AND sent_at IS NULL
             ORDER BY generation DESC
             LIMIT 1
               FOR UPDATE
        ), moved AS (
            UPDATE workshed.schedule AS s
               SET due_at = COALESCE(%(at)s::timestamptz, workshed.now()),
                   -- What is to be sent at once is, also after the clock was put back.
                   reason = CASE WHEN %(at)s::timestamptz IS NULL OR reason NOT IN ('transactional',
                                                                       'broker_down', 'redriven')
                                 THEN reason ELSE 'delayed' END
              FROM found
             WHERE s.message_id = found.message_id AND s.generation = found.generation
               AND found.waits
        )
        SELECT CASE WHEN waits THEN 'moved' ELSE 'on its way' END FROM found
    """
    moved = yield Statement(query, {"message_id": message_id, "at": at})
    return cast("MoveResult", moved or "unknown")
