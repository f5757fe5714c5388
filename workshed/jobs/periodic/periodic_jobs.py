"""Periodic jobs: the table from which clocks and relays create runs."""

from collections.abc import Collection, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from typing import Any

from workshed import cronspec
from workshed.cronspec import PeriodicSchedule
from workshed.database.postgres import Connection, class_row, database_now, to_jsonb
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

REPORT_EVERY = timedelta(minutes=1)
"""How often a worker reports which jobs it has."""
LIVE_FOR = timedelta(minutes=10)
"""A job that no worker has reported for this long is in no running release; no runs are created."""
MOST_CLOCK_LEAD = timedelta(minutes=1)
"""How far a clock's host may be ahead of PostgreSQL, by whose time its runs are sent."""


@value_class
class PeriodicDeclaration:
    """What an actor declares about its runs."""

    name: str
    queue: str
    spec: PeriodicSchedule
    options: dict[str, Any] = field(default_factory=dict)
    """Additional options of each message."""


@value_class
class PeriodicJob:
    """A row of `workshed.periodic_jobs`."""

    name: str
    queue: str
    kind: str
    spec: str
    zone: str
    misfire_policy: str
    misfire_window: timedelta
    description: str
    next_at: datetime
    paused_at: datetime | None
    seen_at: datetime
    live: bool
    """Whether a process with its actor runs, or did within the last 10 minutes."""

    def parse_schedule(self) -> PeriodicSchedule:
        """Return its spec; raises `ValueError` for one that only a newer release understands."""
        return cronspec.parse_schedule(
            self.kind, self.spec, self.zone, self.misfire_policy, self.misfire_window
        )


def declare_jobs(conn: Connection, jobs: Sequence[PeriodicDeclaration]) -> None:
    """Store the jobs of a release that starts; the release that started last wins.

    A job starts from now if it is new, has a new schedule, or was in no running release for longer
    than its misfire window. Any other job continues where it was, so that runs missed in an outage
    are caught up.
    """
    query = """
        INSERT INTO workshed.periodic_jobs AS r (name, queue, kind, spec, zone, misfire_policy,
                                                 misfire_window,
                                         description,
                                         options, next_at)
        SELECT * FROM unnest(%(names)s::text[], %(queues)s::text[], %(kinds)s::text[],
                             %(specs)s::text[], %(zones)s::text[], %(policies)s::text[],
                             %(windows)s::interval[], %(descriptions)s::text[],
                             %(options)s::jsonb[],
                             %(nexts)s::timestamptz[])
         ORDER BY 1  -- all processes lock in one order
        ON CONFLICT (name) DO UPDATE
           SET queue = EXCLUDED.queue, kind = EXCLUDED.kind, spec = EXCLUDED.spec,
               zone = EXCLUDED.zone, misfire_policy = EXCLUDED.misfire_policy,
               misfire_window = EXCLUDED.misfire_window,
               description = EXCLUDED.description, options = EXCLUDED.options,
               next_at = CASE
                   WHEN (r.kind, r.spec, r.zone) IS DISTINCT FROM
                        (EXCLUDED.kind, EXCLUDED.spec, EXCLUDED.zone)
                     OR r.seen_at < workshed.now() - EXCLUDED.misfire_window
                   THEN EXCLUDED.next_at
                   ELSE r.next_at
               END,
               declared_at = workshed.now(), seen_at = workshed.now()
    """
    now = database_now(conn)
    values = {
        "names": [job.name for job in jobs],
        "queues": [job.queue for job in jobs],
        "kinds": [job.spec.kind for job in jobs],
        "specs": [job.spec.text for job in jobs],
        "zones": [job.spec.zone for job in jobs],
        "policies": [job.spec.misfire for job in jobs],
        "windows": [job.spec.misfire_window for job in jobs],
        "descriptions": [job.spec.description for job in jobs],
        "options": [to_jsonb(job.options) for job in jobs],
        "nexts": [job.spec.next_after(now) for job in jobs],
    }
    conn.execute(query, values)


def touch_jobs(conn: Connection, names: Collection[str]) -> None:
    """Record that these jobs are still in a running release."""
    query = """
        UPDATE workshed.periodic_jobs
           SET seen_at = workshed.now()
         WHERE name IN (SELECT name FROM workshed.periodic_jobs
                         WHERE name = ANY (%s)
                         ORDER BY name  -- all processes lock in one order
                           FOR NO KEY UPDATE)
    """
    conn.execute(query, (list(names),))


def list_due(conn: Connection) -> list[str]:
    """Return the jobs with a past time for which no run was created or skipped yet."""
    query = """
        SELECT name
          FROM workshed.periodic_jobs
         WHERE next_at <= workshed.now() AND paused_at IS NULL AND seen_at > workshed.now() - %s
         ORDER BY next_at
    """
    return [name for (name,) in conn.execute(query, (LIVE_FOR,))]


def oldest_overdue(conn: Connection) -> timedelta:
    """Return the age of the oldest past time for which no run was created or skipped yet."""
    query = """
        SELECT coalesce(max(workshed.now() - next_at), interval '0')
          FROM workshed.periodic_jobs
         WHERE next_at <= workshed.now() AND paused_at IS NULL AND seen_at > workshed.now() - %s
    """
    found: timedelta = next(iter(conn.execute(query, (LIVE_FOR,))))[0]
    return found


def lock_due(conn: Connection, name: str) -> PeriodicJob | None:
    """Lock a job that is due; `None` if it no longer is, or another process has locked it."""
    query = """
        SELECT name, queue, kind, spec, zone, misfire_policy, misfire_window,
                                         description, next_at, paused_at, seen_at,
               true AS live
          FROM workshed.periodic_jobs
         WHERE name = %(name)s AND next_at <= workshed.now() AND paused_at IS NULL
           AND seen_at > workshed.now() - %(live_for)s
           FOR UPDATE SKIP LOCKED
    """
    with conn.cursor(row_factory=class_row(PeriodicJob)) as cur:
        return cur.execute(query, {"name": name, "live_for": LIVE_FOR}).fetchone()


def advance_job(conn: Connection, name: str, next_at: datetime) -> None:
    """Record that all times before `next_at` are dealt with."""
    conn.execute("UPDATE workshed.periodic_jobs SET next_at = %s WHERE name = %s", (next_at, name))


def skip_reason(
    conn: Connection, name: str, spec: PeriodicSchedule, scheduled_for: datetime
) -> str | None:
    """Return why a clock must not create a run; `None`: it may try, and the job is locked.

    Otherwise a clock of an older release could create runs that the newer one does not plan, and a
    clock on a host with the wrong time could create runs that were skipped or are in the future.
    """
    query = """
        SELECT CASE
                   WHEN (kind, spec, zone) IS DISTINCT FROM (%(kind)s, %(spec)s, %(zone)s)
                   THEN 'a release that started later plans it otherwise'
                   WHEN paused_at IS NOT NULL THEN 'it is paused'
                   WHEN %(scheduled_for)s > workshed.now() + %(ahead)s
                   THEN 'this host is ahead of PostgreSQL by ' || %(scheduled_for)s - workshed.now()
                   WHEN %(scheduled_for)s < next_at THEN 'it was dealt with'
                   WHEN %(scheduled_for)s <= workshed.now() - misfire_window THEN 'it is too late'
               END
          FROM workshed.periodic_jobs
         WHERE name = %(name)s
           FOR SHARE
    """
    values = {
        "name": name,
        "kind": spec.kind,
        "spec": spec.text,
        "zone": spec.zone,
        "scheduled_for": scheduled_for,
        "ahead": MOST_CLOCK_LEAD,
    }
    found = conn.execute(query, values).fetchone()
    return "it was never declared" if found is None else found[0]


def list_periodic_jobs(conn: Connection, name: str | None = None) -> list[PeriodicJob]:
    """Return all jobs in order of name, or the one of that name."""
    query = """
        SELECT name, queue, kind, spec, zone, misfire_policy, misfire_window,
                                         description, next_at, paused_at, seen_at,
               seen_at > workshed.now() - %(live_for)s AS live
          FROM workshed.periodic_jobs
         WHERE %(name)s::text IS NULL OR name = %(name)s
         ORDER BY name
    """
    with conn.cursor(row_factory=class_row(PeriodicJob)) as cur:
        return cur.execute(query, {"name": name, "live_for": LIVE_FOR}).fetchall()


def pause_job(conn: Connection, name: str) -> bool:
    """Create no runs of a job until it is resumed; False if there is no such job."""
    query = (
        "UPDATE workshed.periodic_jobs SET paused_at = COALESCE(paused_at, workshed.now()) "
        "WHERE name = %s"
    )
    return conn.execute(query, (name,)).rowcount > 0


def resume_job(conn: Connection, job: PeriodicJob) -> bool:
    """Create runs again from now on; False if the job is not paused.

    Runs that were due during the pause are not caught up.
    """
    query = """
        UPDATE workshed.periodic_jobs SET paused_at = NULL, next_at = %(next_at)s
         WHERE name = %(name)s AND paused_at IS NOT NULL
    """
    next_at = job.parse_schedule().next_after(database_now(conn))
    return conn.execute(query, {"name": job.name, "next_at": next_at}).rowcount > 0


def prune_periodic_jobs(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete jobs that no release has had for long, at most `limit`; return how many."""
    return delete_old_rows(conn, "workshed.periodic_jobs", "seen_at", older_than, limit)
