"""Jobs that will not be tried again until somebody says so."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from workshed.db import Connection
from workshed.jobs.attempts import storable


@dataclass(frozen=True, slots=True)
class Dead:
    """A row of `jobs.dead`; `actor` is `None` where the message could not be read."""

    message_id: str
    hop: int
    attempt: int
    queue: str
    actor: str | None
    body: bytes
    reason: str
    error_class: str | None
    died_at: datetime


def bury(  # noqa: PLR0913 -- a row has this many columns
    conn: Connection,
    *,
    message_id: str,
    hop: int,
    attempt: int,
    queue: str,
    actor: str | None,
    body: bytes,
    reason: str,
    error: BaseException | None = None,
) -> None:
    """Keep a job, as it came, with why it died; one row per message, the latest death."""
    query = """
        INSERT INTO jobs.dead (message_id, hop, attempt, queue, actor, body, reason, error_class)
        VALUES (%(message_id)s, %(hop)s, %(attempt)s, %(queue)s, %(actor)s, %(body)s, %(reason)s,
                %(error_class)s)
        ON CONFLICT (message_id) DO UPDATE
           SET hop = EXCLUDED.hop, attempt = EXCLUDED.attempt, queue = EXCLUDED.queue,
               actor = EXCLUDED.actor, body = EXCLUDED.body, reason = EXCLUDED.reason,
               error_class = EXCLUDED.error_class, died_at = jobs.now()
    """
    values = {
        "message_id": message_id,
        "hop": hop,
        "attempt": attempt,
        "queue": queue,
        "actor": actor,
        "body": body,
        "reason": storable(reason),
        "error_class": None if error is None else type(error).__name__,
    }
    conn.execute(query, values)


def find(conn: Connection, *, limit: int = 100) -> list[Dead]:
    """Return the dead, the latest first."""
    query = """
        SELECT message_id, hop, attempt, queue, actor, body, reason, error_class, died_at
          FROM jobs.dead
         ORDER BY died_at DESC
         LIMIT %s
    """
    with conn.cursor(row_factory=class_row(Dead)) as cur:
        return cur.execute(query, (limit,)).fetchall()
