"""Dead jobs grouped by error class, actor and location: each group is most likely one defect."""

from datetime import datetime

from workshed.database.postgres import Connection, class_row, to_sql
from workshed.jobs.dead.dead_jobs import ANY, FILTER_SQL, DeadFilter, filter_parameters
from workshed.value_class import value_class


@value_class
class DeadGroup:
    """Dead jobs with the same error class, actor and location; `None` if unknown."""

    error_class: str | None
    actor: str | None
    error_location: str | None
    count: int
    first_at: datetime
    last_at: datetime
    release: str | None
    """Release of the program in which the first of them died."""
    hours: list[int]
    """How many died in each of the last 24 hours, latest hour last."""


def list_groups(conn: Connection, dead_filter: DeadFilter = ANY, *, limit: int) -> list[DeadGroup]:
    """Return the largest groups."""
    # Both counts read only the index `dead_by_group`, because the rows contain bodies.
    query = to_sql("""
        WITH grouped AS (
            SELECT error_class, actor, error_location, count(*) AS count,
                   min(died_at) AS first_at, max(died_at) AS last_at
              FROM workshed.dead
             WHERE {}
             GROUP BY error_class, actor, error_location
             ORDER BY count(*) DESC, max(died_at) DESC
             LIMIT %(limit)s
        ), hourly AS (
            SELECT error_class, actor, error_location, count(*) AS count,
                   23 - floor(extract(epoch FROM workshed.now() - died_at) / 3600)::integer AS hour
              FROM workshed.dead
             WHERE died_at > workshed.now() - interval '24 hours'
               AND (%(queues)s::text[] IS NULL OR queue = ANY (%(queues)s))
             GROUP BY error_class, actor, error_location, hour
        ), trends AS (
            SELECT error_class, actor, error_location, jsonb_object_agg(hour, count) AS counts
              FROM hourly
             GROUP BY error_class, actor, error_location
        )
        SELECT g.error_class, g.actor, g.error_location, g.count, g.first_at, g.last_at,
               (SELECT d.release
                  FROM workshed.dead AS d
                 WHERE d.died_at = g.first_at
                   AND (d.error_class, d.actor, d.error_location)
                       IS NOT DISTINCT FROM (g.error_class, g.actor, g.error_location)
                 ORDER BY d.message_id
                 LIMIT 1) AS release,
               ARRAY(SELECT COALESCE((t.counts ->> hour::text)::integer, 0)
                       FROM generate_series(0, 23) AS hour
                      ORDER BY hour) AS hours
          FROM grouped AS g
          LEFT JOIN trends AS t
            ON COALESCE(t.error_class, '-') = COALESCE(g.error_class, '-')
           AND COALESCE(t.actor, '-') = COALESCE(g.actor, '-')
           AND COALESCE(t.error_location, '-') = COALESCE(g.error_location, '-')
         ORDER BY g.count DESC, g.last_at DESC, g.error_class, g.actor, g.error_location
    """).format(to_sql(FILTER_SQL))
    values = {**filter_parameters(dead_filter), "limit": limit}
    with conn.cursor(row_factory=class_row(DeadGroup)) as cur:
        return cur.execute(query, values).fetchall()


def list_classes(conn: Connection, limit: int) -> list[str]:
    """Return the error classes of dead jobs, by name, at most `limit`."""
    # Each step finds the next class in the index `dead_by_group`, so that a hundred thousand jobs
    # of one class take no longer than one.
    query = """
        WITH RECURSIVE classes (error_class) AS (
            SELECT min(error_class) FROM workshed.dead
             UNION ALL
            SELECT (SELECT min(d.error_class) FROM workshed.dead AS d
                     WHERE d.error_class > c.error_class)
              FROM classes AS c
             WHERE c.error_class IS NOT NULL
        )
        SELECT error_class FROM classes WHERE error_class IS NOT NULL LIMIT %s
    """
    return [error_class for (error_class,) in conn.execute(query, (limit,))]
