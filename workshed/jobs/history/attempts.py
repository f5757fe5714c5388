"""Each failed attempt and each discard, as a row."""

import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from workshed.database.postgres import Connection, class_row
from workshed.jobs.outcomes import OutcomeKind
from workshed.pruning import WITHOUT_JOB, delete_old_rows
from workshed.value_class import value_class

LONGEST_ERROR = 2_000
LONGEST_TRACEBACK = 20_000


@value_class
class Attempt:
    """A row of `workshed.attempts`."""

    message_id: str
    generation: int
    attempt: int
    queue: str
    actor: str
    outcome: OutcomeKind
    reason: str
    error_class: str | None
    error: str | None
    traceback: str | None
    ended_at: datetime


class ErrorTexts(NamedTuple):
    """An error as texts that can be stored."""

    error_class: str | None = None
    error: str | None = None
    traceback: str | None = None


NO_ERROR = ErrorTexts()


def record_attempt(  # noqa: PLR0913 -- a row has this many columns
    conn: Connection,
    *,
    message_id: str,
    generation: int,
    attempt: int,
    queue: str,
    actor: str,
    outcome: OutcomeKind,
    reason: str,
    error: ErrorTexts = NO_ERROR,
) -> None:
    """Record an attempt that did not succeed."""
    query = """
        INSERT INTO workshed.attempts (message_id, generation, attempt, queue, actor, outcome,
                                       reason,
                                   error_class, error, traceback)
        VALUES (%(message_id)s, %(generation)s, %(attempt)s, %(queue)s, %(actor)s, %(outcome)s,
                %(reason)s, %(error_class)s, %(error)s, %(traceback)s)
    """
    values = {
        "message_id": message_id,
        "generation": generation,
        "attempt": attempt,
        "queue": queue,
        "actor": actor,
        "outcome": outcome,
        "reason": to_storable(reason)[:LONGEST_ERROR],
        **error._asdict(),
    }
    conn.execute(query, values)


def list_job_attempts(conn: Connection, message_id: str) -> list[Attempt]:
    """Return the attempts of one job, oldest first."""
    query = """
        SELECT message_id, generation, attempt, queue, actor, outcome, reason,
               error_class, error, traceback, ended_at
          FROM workshed.attempts
         WHERE message_id = %s
         ORDER BY id
    """
    with conn.cursor(row_factory=class_row(Attempt)) as cur:
        return cur.execute(query, (message_id,)).fetchall()


def prune_attempts(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete old attempts of jobs that are neither waiting nor dead, at most `limit`."""
    return delete_old_rows(conn, "workshed.attempts", "ended_at", older_than, limit, WITHOUT_JOB)


def format_error(error: BaseException) -> str:
    """Return the text of an error, even if its `__str__` fails: its job must still be retried."""
    try:
        return str(error)
    except Exception as err:  # noqa: BLE001 -- an error's `__str__` may raise anything
        return f"(its text cannot be made: {type(err).__name__})"


def to_storable(text: str) -> str:
    """Replace what PostgreSQL's `text` cannot hold: NUL, and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def describe_error(error: BaseException | None, redact: Callable[[str], str] = str) -> ErrorTexts:
    """Describe an error; `redact` hides the secrets in its texts.

    Keeps the end of a long traceback, because that says where the error happened.
    """
    if error is None:
        return NO_ERROR
    lines = redact(to_storable("".join(traceback.format_exception(error))))
    text = redact(to_storable(format_error(error)))
    return ErrorTexts(type(error).__name__, text[:LONGEST_ERROR], lines[-LONGEST_TRACEBACK:])
