"""How hard the schedule is used as a queue, as PostgreSQL's statistics have it."""

from datetime import datetime, timedelta

from workshed.database.postgres import Connection, class_row
from workshed.value_class import value_class

MOST_PER_SECOND = 500
"""Jobs per second from which on RabbitMQ is the better queue."""


@value_class
class TableStatistics:
    """PostgreSQL's statistics of the schedule; they are up to a few seconds old."""

    at: datetime
    deleted: int
    """Rows that were deleted since the statistics were last reset: one per attempt that ended."""
    dead_rows: int
    """Versions of rows that vacuum has yet to remove."""
    last_autovacuum: datetime | None
    is_vacuumed: bool
    """Autovacuum runs, also for this table."""
    table_bytes: int
    index_bytes: int


@value_class
class VacuumBlocker:
    """A transaction or replication slot that keeps vacuum from removing rows."""

    name: str
    age: timedelta | None
    """How long ago it began; `None` for a slot, of which PostgreSQL does not say it."""
    end_command: str
    """SQL that ends it."""


def read_statistics(conn: Connection) -> TableStatistics:
    """Read the statistics; every user may."""
    query = """
        SELECT clock_timestamp() AS at, s.n_tup_del AS deleted, s.n_dead_tup AS dead_rows,
               s.last_autovacuum,
               current_setting('autovacuum')::bool AND current_setting('track_counts')::bool
               -- PostgreSQL keeps the word of the user: false, off, no or 0.
               AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
                                WHERE option_name = 'autovacuum_enabled'
                                  AND NOT option_value::bool)
                   AS is_vacuumed,
               pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes
          FROM pg_stat_user_tables AS s
          JOIN pg_class AS c ON c.oid = s.relid
         WHERE s.schemaname = 'workshed' AND s.relname = 'schedule'
    """
    with conn.cursor(row_factory=class_row(TableStatistics)) as cur:
        found = cur.execute(query).fetchone()
    assert found is not None  # noqa: S101 -- the migrations have created the table
    return found


def list_vacuum_blockers(conn: Connection, older_than: timedelta) -> list[VacuumBlocker]:
    """Return what has kept vacuum from removing rows for longer, the oldest first.

    The transactions of other roles are only seen by a user of whom `may_see_sessions` is true.
    """
    query = """
        SELECT format('session %%s of %%s (%%s, %%s)', pid, usename,
                      COALESCE(NULLIF(application_name, ''), 'no name'), state) AS name,
               clock_timestamp() - xact_start AS age,
               format('SELECT pg_terminate_backend(%%s)', pid) AS end_command
          FROM pg_stat_activity
         WHERE (datname = current_database() OR datname IS NULL)
           AND backend_type <> 'autovacuum worker' AND pid <> pg_backend_pid()
           AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
           AND xact_start < clock_timestamp() - %(older_than)s
        UNION ALL
        SELECT format('prepared transaction %%L', gid), clock_timestamp() - prepared,
               format('ROLLBACK PREPARED %%L', gid)
          FROM pg_prepared_xacts
         WHERE database = current_database()
           AND prepared < clock_timestamp() - %(older_than)s
        UNION ALL
        SELECT format('unused replication slot %%s', slot_name), NULL,
               format('SELECT pg_drop_replication_slot(%%L)', slot_name)
          FROM pg_replication_slots
         WHERE NOT active AND xmin IS NOT NULL
         ORDER BY age DESC NULLS LAST
    """
    with conn.cursor(row_factory=class_row(VacuumBlocker)) as cur:
        return cur.execute(query, {"older_than": older_than}).fetchall()


def may_see_sessions(conn: Connection) -> bool:
    """Return whether this user sees the transactions of other roles."""
    found = conn.execute("SELECT pg_has_role('pg_read_all_stats', 'USAGE')").fetchone()
    return bool(found and found[0])
