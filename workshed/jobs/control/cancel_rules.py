"""Rules that cancel jobs without a row: those that RabbitMQ holds, and those that run."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import orjson

from workshed.database.postgres import Connection, class_row
from workshed.errors import WorkshedError
from workshed.jobs.tags import CancelTraits
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

MILLISECOND = timedelta(milliseconds=1)
BATCH = 1_000


class BoundlessRuleError(WorkshedError):
    """A rule without an actor, queue or tag would cancel every job."""


@value_class
class JobFilter:
    """A filter of jobs; fields that are `None` match all."""

    actor: str | None = None
    queue: str | None = None
    tag: str | None = None
    older_than: timedelta | None = None
    """Sent at least this long ago."""

    @property
    def is_bounded(self) -> bool:
        """Whether it names an actor, a queue or a tag."""
        return (self.actor, self.queue, self.tag) != (None, None, None)


@value_class
class CancelRule:
    """A row of `workshed.cancel_rules`; it cancels jobs that match and were sent earlier."""

    id: int
    actor: str | None
    queue: str | None
    tag: str | None
    sent_before: datetime
    created_at: datetime

    def matches(self, job: CancelTraits) -> bool:
        """Return whether it matches a job, like the function `workshed.matching_cancel_rule`."""
        return (
            self.actor in (None, job.actor)
            and self.queue in (None, job.queue)
            and (self.tag is None or self.tag in job.tags)
            and job.sent_ms < round(self.sent_before.timestamp() * 1000)
        )


def create_rule(conn: Connection, job_filter: JobFilter) -> CancelRule:
    """Cancel every job that matches and was sent before now, wherever it is.

    Jobs on RabbitMQ are cancelled when they start, running ones are asked to stop (within 2 s), and
    none is retried. Raises `BoundlessRuleError`.
    """
    if not job_filter.is_bounded:
        raise BoundlessRuleError("a rule needs an actor, a queue or a tag")
    query = """
        INSERT INTO workshed.cancel_rules (actor, queue, tag, sent_before)
        VALUES (%(actor)s, %(queue)s, %(tag)s,
                date_trunc('milliseconds', workshed.now() - %(older_than)s))
        RETURNING id, actor, queue, tag, sent_before, created_at
    """
    values = {
        "actor": job_filter.actor,
        "queue": job_filter.queue,
        "tag": job_filter.tag,
        "older_than": job_filter.older_than or timedelta(),
    }
    with conn.cursor(row_factory=class_row(CancelRule)) as cur:
        made = cur.execute(query, values).fetchone()
    assert made is not None  # noqa: S101 -- one row by construction
    return made


def list_rules(conn: Connection) -> list[CancelRule]:
    """Return the current rules, oldest first."""
    query = """
        SELECT id, actor, queue, tag, sent_before, created_at FROM workshed.cancel_rules ORDER BY id
    """
    with conn.cursor(row_factory=class_row(CancelRule)) as cur:
        return cur.execute(query).fetchall()


def delete_rule(conn: Connection, rule: int) -> bool:
    """Delete a rule; jobs it has not cancelled yet will run (within 2 s). False if not found."""
    return conn.execute("DELETE FROM workshed.cancel_rules WHERE id = %s", (rule,)).rowcount > 0


def prune_rules(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete rules no copy can meet any more, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.cancel_rules", "created_at", older_than, limit)


def list_waiting_ids(conn: Connection, job_filter: JobFilter) -> list[str]:
    """Return the IDs of matching jobs in the schedule, in an order that all callers share."""
    query = """
        SELECT DISTINCT message_id
          FROM workshed.schedule
         WHERE sent_at IS NULL
           AND (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(queue)s::text IS NULL OR queue = %(queue)s)
         ORDER BY message_id
    """
    if job_filter.tag is not None or job_filter.older_than is not None:
        return sorted(set(_match_bodies(conn, job_filter)))
    return [found for (found,) in conn.execute(query, _values(job_filter))]


def _match_bodies(conn: Connection, job_filter: JobFilter) -> Iterator[str]:
    """Search the bodies in Python: PostgreSQL cannot read all JSON, for example with a NUL."""
    query = """
        SELECT message_id, body, workshed.now()
          FROM workshed.schedule
         WHERE sent_at IS NULL
           AND (%(actor)s::text IS NULL OR actor = %(actor)s)
           AND (%(queue)s::text IS NULL OR queue = %(queue)s)
    """
    with conn.transaction(), conn.cursor("bodies") as cur:
        cur.itersize = BATCH
        for message_id, body, now in cur.execute(query, _values(job_filter)):
            fields = orjson.loads(body)
            before = now - (job_filter.older_than or timedelta())
            if job_filter.tag is not None and job_filter.tag not in fields["options"].get(
                "tags", ()
            ):
                continue
            if fields["message_timestamp"] < before.timestamp() * 1000:
                yield message_id


def _values(job_filter: JobFilter) -> dict[str, str | None]:
    return {"actor": job_filter.actor, "queue": job_filter.queue}
