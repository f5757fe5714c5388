"""The history of runs: written in batches, read by filters, deleted by days."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, LiteralString, NamedTuple

from workshed.database.postgres import Connection, class_row, to_jsonb, to_sql
from workshed.jobs.history.copy_format import COLUMNS, COPY_HEADER, COPY_TRAILER
from workshed.jobs.names import Names, split_names, to_name_array
from workshed.value_class import value_class


@value_class
class Run:
    """A row of `workshed.runs`; times are by the clocks of its sender and worker."""

    id: int
    recorded_at: datetime
    message_id: str
    generation: int
    attempt: int
    queue: str
    actor: str
    outcome: str
    reason: str
    error_class: str | None
    error: str | None
    traceback: str | None
    sent_at: datetime
    published_at: datetime | None
    started_at: datetime | None
    ended_at: datetime
    queue_wait_s: float | None
    """Time in its queue and in its worker's memory, in seconds."""
    duration_s: float | None
    """Time in its actor."""
    retry_in_s: float | None
    """Time until its next run, if it was put back."""
    worker: str
    """Host and process ID."""
    parent: str | None
    """The job that sent it."""
    origin: str
    trace: str | None
    tags: list[str]
    release: str
    arguments: Any
    """By name, with secret ones hidden; `None` if they were too large, or were erased."""


LARGEST_ID = (1 << 63) - 1


class RunPosition(NamedTuple):
    """A position in the history, by which one page continues another."""

    recorded_at: datetime
    id: int

    @classmethod
    def older_than(cls, at: datetime) -> "RunPosition":
        """Return the position before which all runs older than `at` are."""
        return cls(at - timedelta(microseconds=1), LARGEST_ID)


@value_class
class RunFilter:
    """A filter of runs; fields that are `None` or empty match all."""

    actor: Names = None
    queue: Names = None
    outcomes: tuple[str, ...] = ()
    error: Names = None
    """Class of the error."""
    error_begins: str | None = None
    """The class of the error begins with this, or a part of it after a dot does."""
    tag: str | None = None
    parent: str | None = None
    arguments: dict[str, Any] | None = None
    """Values of some arguments by name, exactly."""
    argument_value: str | None = None
    """JSON of a value that any of the arguments has, exactly; neither a list nor an object."""
    since: timedelta | None = None
    """Ended at most this long ago."""
    recorded_from: datetime | None = None
    """Recorded at this time or later."""
    recorded_before: datetime | None = None
    """Recorded before this time."""
    longer_than: timedelta | None = None
    """Its actor ran for at least this long."""

    @property
    def has_error(self) -> bool:
        """Return whether only runs with an error match, so that none has succeeded."""
        return self.error is not None or self.error_begins is not None


ANY = RunFilter()
FILTER_SQL: LiteralString = """
           (%(actor)s::text IS NULL OR actor = %(actor)s)
       AND (%(actors)s::text[] IS NULL OR actor = ANY (%(actors)s))
       AND (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s))
       AND (%(outcomes)s::text[] IS NULL OR outcome = ANY (%(outcomes)s))
       AND (NOT %(has_error)s::bool OR outcome <> 'succeeded')  -- which has an index
       AND (%(errors)s::text[] IS NULL OR error_class = ANY (%(errors)s))
       AND (%(error_begins)s::text IS NULL
            OR strpos('.' || error_class, '.' || %(error_begins)s) > 0)
       AND (%(tag)s::text IS NULL OR %(tag)s = ANY (tags))
       AND (%(parent)s::text IS NULL OR parent = %(parent)s)
       AND (%(arguments)s::jsonb IS NULL OR arguments::jsonb @> %(arguments)s)
       AND (%(argument_value)s::jsonb IS NULL
            OR jsonb_path_exists(arguments::jsonb, 'strict $.* ? (@ == $value)',
                                 jsonb_build_object('value', %(argument_value)s::jsonb), true))
       AND (%(longer_s)s::double precision IS NULL OR duration_s >= %(longer_s)s)
       AND (%(since)s::interval IS NULL OR recorded_at >= workshed.now() - %(since)s)
       AND (%(from)s::timestamptz IS NULL OR recorded_at >= %(from)s)
       AND (%(before)s::timestamptz IS NULL OR recorded_at < %(before)s)
"""
"""A condition on `workshed.runs`, with the values of `filter_parameters(which)`."""


def add_partitions(conn: Connection) -> None:
    """Create the partitions of today and the next days."""
    conn.execute("SELECT workshed.add_runs_partitions()")


def write_runs(conn: Connection, rows: Iterable[bytes]) -> None:
    """Append runs, all of them or none, without waiting until they are on disk.

    Raises `psycopg.errors.CheckViolation` if today's partition is missing.
    """
    copy = to_sql("COPY workshed.runs ({}) FROM STDIN (FORMAT BINARY)").format(to_sql(COLUMNS))
    with conn.transaction():
        conn.execute("SET LOCAL synchronous_commit = off")
        with conn.cursor().copy(copy) as stream:
            stream.write(b"".join((COPY_HEADER, *rows, COPY_TRAILER)))


def record_dropped(conn: Connection, worker: str, count: int) -> None:
    """Record how many runs a worker could not store."""
    conn.execute(
        "INSERT INTO workshed.runs_dropped (worker, runs) VALUES (%s, %s)", (worker, count)
    )


def count_dropped(conn: Connection, since: timedelta) -> int:
    """Return how many runs could not be stored in the last `since`."""
    query = """
        SELECT COALESCE(sum(runs), 0)::bigint
          FROM workshed.runs_dropped
         WHERE recorded_at > workshed.now() - %s
    """
    row = conn.execute(query, (since,)).fetchone()
    return 0 if row is None else int(row[0])


def list_runs(
    conn: Connection,
    run_filter: RunFilter = ANY,
    *,
    before: RunPosition | None = None,
    down_to: datetime | None = None,
    limit: int = 100,
) -> list[Run]:
    """Return runs, latest first; only those older than `before` and not older than `down_to`."""
    query = to_sql("""
        SELECT id, recorded_at, message_id, generation, attempt, queue, actor, outcome, reason,
               error_class, error, traceback, sent_at, published_at, started_at, ended_at,
               queue_wait_s, duration_s, retry_in_s, worker, parent, origin, trace, tags, release,
               arguments
          FROM workshed.runs
         WHERE {}
           AND (%(down_to)s::timestamptz IS NULL OR recorded_at >= %(down_to)s)
           AND (%(id)s::bigint IS NULL
                OR (recorded_at <= %(at)s AND (recorded_at, id) < (%(at)s, %(id)s)))
         ORDER BY recorded_at DESC, id DESC
         LIMIT %(limit)s
    """).format(to_sql(FILTER_SQL))
    at, run_id = before or (None, None)
    place = {"at": at, "id": run_id, "down_to": down_to, "limit": limit}
    with conn.cursor(row_factory=class_row(Run)) as cur:
        return cur.execute(query, filter_parameters(run_filter) | place, prepare=False).fetchall()


def filter_parameters(run_filter: RunFilter) -> dict[str, Any]:
    """Return the filter as query parameters."""
    longer = run_filter.longer_than
    actor, actors = split_names(run_filter.actor)
    return {
        "actor": actor,
        "actors": actors,
        "queues": to_name_array(run_filter.queue),
        "outcomes": list(run_filter.outcomes) or None,
        "has_error": run_filter.has_error,
        "errors": to_name_array(run_filter.error),
        "error_begins": run_filter.error_begins,
        "tag": run_filter.tag,
        "parent": run_filter.parent,
        "arguments": None if run_filter.arguments is None else to_jsonb(run_filter.arguments),
        "argument_value": run_filter.argument_value,
        "longer_s": None if longer is None else longer.total_seconds(),
        "since": run_filter.since,
        "from": run_filter.recorded_from,
        "before": run_filter.recorded_before,
    }


def list_job_runs(conn: Connection, message_id: str) -> list[Run]:
    """Return the runs of one job, oldest first."""
    query = """
        SELECT id, recorded_at, message_id, generation, attempt, queue, actor, outcome, reason,
               error_class, error, traceback, sent_at, published_at, started_at, ended_at,
               queue_wait_s, duration_s, retry_in_s, worker, parent, origin, trace, tags, release,
               arguments
          FROM workshed.runs
         WHERE message_id = %s
         ORDER BY ended_at, id
    """
    with conn.cursor(row_factory=class_row(Run)) as cur:
        return cur.execute(query, (message_id,)).fetchall()


def prune_runs(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Drop up to `limit` of the oldest days that are entirely older; return how many.

    Also deletes up to 1 000 records of lost runs, which do not count. Raises
    `psycopg.errors.LockNotAvailable` if a query reads the history for longer than 2 s.
    """
    lost = """
        DELETE FROM workshed.runs_dropped
         WHERE ctid = ANY (ARRAY(SELECT ctid FROM workshed.runs_dropped
                                  WHERE recorded_at < workshed.now() - %s
                                  LIMIT 1000))
    """
    query = """
        SELECT workshed.drop_runs_partitions(least(
               workshed.now() - %s,
               (SELECT min(to_date(c.relname, '"runs_"YYYY_MM_DD') + %s)::timestamp
                       AT TIME ZONE 'UTC'
                  FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'workshed.runs'::regclass)))
    """
    conn.execute(lost, (older_than,))
    row = conn.execute(query, (older_than, limit)).fetchone()
    return 0 if row is None else int(row[0])
