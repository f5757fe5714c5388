"""The classes of errors of recent runs."""

from workshed.database.postgres import Connection

MOST_RUNS = 2_000
"""Unsuccessful runs that are read, the latest ones; it takes a few milliseconds."""


def list_recent_classes(conn: Connection) -> list[str]:
    """Return the classes of the errors with which the latest runs have ended, by name."""
    query = """
        SELECT DISTINCT error_class
          FROM (SELECT error_class
                  FROM workshed.runs
                 WHERE outcome <> 'succeeded'
                 ORDER BY recorded_at DESC, id DESC
                 LIMIT %s) AS latest
         WHERE error_class IS NOT NULL
         ORDER BY error_class
    """
    return [error_class for (error_class,) in conn.execute(query, (MOST_RUNS,))]
