"""Databases for tests: fresh ones, and a shared one per process, emptied after each test."""

import contextlib
import secrets
import time
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

LARGE_BYTES = 256 << 10
"""Larger tables are truncated, because deleted rows would slow down later tests."""

PATIENCE_S = 10
"""How long to wait for sessions to end and for locks, before the database is replaced."""

PARTITIONS = "partitions"
"""A relay creates the next day's partitions at midnight, whatever the test does."""

OF_PROCESSES = tuple(
    ("workshed", name)
    for name in (
        "actors",
        "counters",
        "queues",
        "periodic_jobs",
        "relays",
        "sender_grants",
        "workers",
    )
)
"""The tables in which processes describe themselves when they start."""

HINT = (
    "this test changed {} of Workshed in the database that the tests of a process share. Undo that "
    "at the end of the test, or give it a database of its own with @pytest.mark.fresh_database"
)

CATALOG = {
    # Without statistics and file names.
    "tables, views or indexes": """
        SELECT count(*), sum(hashtextextended(
                   concat_ws(' ', oid, relname, relnamespace, relowner, relkind, relacl,
                             reloptions, relpersistence, relrowsecurity), 0))
          FROM pg_class
         WHERE oid >= 16384 AND relnamespace <> 'pg_toast'::regnamespace AND NOT relispartition
    """,
    PARTITIONS: """
        SELECT count(*), sum(hashtextextended(concat_ws(' ', oid, relname, relnamespace), 0))
          FROM pg_class WHERE relispartition
    """,
    "columns": """
        SELECT count(*), sum(a.xmin::text::bigint)
          FROM pg_attribute AS a
          JOIN pg_class AS c ON c.oid = a.attrelid
         WHERE c.oid >= 16384 AND a.attnum > 0
           AND c.relnamespace <> 'pg_toast'::regnamespace AND NOT c.relispartition
    """,
    "functions": "SELECT count(*), sum(xmin::text::bigint) FROM pg_proc WHERE oid >= 16384",
    "triggers": """
        SELECT count(*), sum(xmin::text::bigint)
          FROM pg_trigger WHERE tgparentid = 0 AND NOT tgisinternal
    """,
    "constraints": """
        SELECT count(*), sum(o.xmin::text::bigint)
          FROM pg_constraint AS o
          LEFT JOIN pg_class AS c ON c.oid = o.conrelid
         WHERE o.oid >= 16384 AND o.conparentid = 0 AND c.relispartition IS NOT TRUE
    """,
    "sequences": "SELECT count(*), sum(xmin::text::bigint) FROM pg_sequence",
    "policies": "SELECT count(*), sum(xmin::text::bigint) FROM pg_policy",
    "schemas": """
        SELECT count(*), sum(xmin::text::bigint)
          FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'
    """,
    "extensions": "SELECT count(*), sum(xmin::text::bigint) FROM pg_extension",
    "default rights": "SELECT count(*), sum(xmin::text::bigint) FROM pg_default_acl",
    "settings": """
        SELECT count(*), sum(xmin::text::bigint)
          FROM pg_db_role_setting
         WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    """,
    "rights": """
        SELECT count(*), sum(xmin::text::bigint)
          FROM pg_database WHERE datname = current_database()
    """,
}
"""Kinds of objects that a test might change, each with a query whose answer changes with them."""


RESTART = """
    SELECT setval(seqrelid::regclass, seqstart, false)
      FROM pg_sequence
     WHERE pg_sequence_last_value(seqrelid) IS NOT NULL
"""

OTHERS = """
    SELECT pid FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND backend_type = 'client backend'
"""

ADDITIONS = """
    SELECT format('DROP SCHEMA %I CASCADE', nspname)
      FROM pg_namespace
     WHERE oid >= 16384 AND nspname !~ '^(workshed|shop|workshed_[a-z]+)$'
       AND nspname !~ '^pg_'
    UNION ALL
    SELECT format('DROP %s IF EXISTS %s CASCADE', kind, c.oid::regclass)
      FROM pg_class AS c
      JOIN (VALUES ('r', 'TABLE'), ('p', 'TABLE'), ('v', 'VIEW'), ('m', 'MATERIALIZED VIEW'),
                   ('S', 'SEQUENCE')) AS kinds (relkind, kind) ON kinds.relkind = c.relkind::text
     WHERE c.relnamespace = 'public'::regnamespace
       AND NOT (c.relkind = 'S' AND EXISTS (  -- that of a column is dropped with it
                SELECT FROM pg_depend
                 WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('a', 'i')))
    UNION ALL
    SELECT format('DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure)
      FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""
"""One `DROP` statement for each object that a test created outside of our schemas."""


@contextlib.contextmanager
def fresh_database(url, template="template0", owner=None):
    """Create a database on the server of `url` and drop it at the end; yields its name."""
    name = create(url, template, owner)
    yield name
    drop(url, name)


def create(url, template="template0", owner=None):
    """Create a database; return its name."""
    name = f"test_{secrets.token_hex(6)}"
    # Copying the files costs less than also writing all of them to the WAL.
    query = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy")
    whose = sql.SQL("DEFAULT") if owner is None else sql.Identifier(owner)
    run(url, query.format(sql.Identifier(name), sql.Identifier(template), whose))
    return name


def drop(url, name):
    """Drop a database and end all sessions in it."""
    run(url, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def run(url, query):
    """Execute a query in a new session, because a test may have restarted the server."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(query)


def sibling(url, name):
    """Return the URL of another database or virtual host on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


class SharedDatabase:
    """The migrated database that the tests of one process use in turn.

    Emptying a database takes PostgreSQL a tenth of the time of creating and dropping one. The
    database is replaced when emptying cannot restore it: after a changed catalog, with a session
    that reconnects, or when the server does not answer.
    """

    def __init__(self, servers, template):
        self.servers = servers
        self.template = template
        self.name = None
        self._session = None  # kept open: a new session has to read the catalog of each table again
        self._pristine = {}
        self._seeds = {}
        self._left = []

    def take(self):
        """Return the URL of the database, in the state in which its migrations left it."""
        if self.name and self._is_entered():
            self._discard()  # a process that reconnects would write into the next test
        if self.name is None:
            self.name = create(self.servers.database_url, self.template)
            with self._connected() as conn:
                self._pristine = catalog(conn)
                self._seeds = seeds(conn)
        return self.url

    def give_back(self):
        """End all sessions and empty the database; return forbidden changes that the test made."""
        try:
            with self._connected() as conn:
                end_sessions(conn)
                if changed := self._changed(conn):
                    drop_additions(conn)
                    changed = self._changed(conn)
                if not changed:
                    empty(conn, self._seeds)
        except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege):
            self._discard()  # the server is down, or its user may not set the session's options
            return set()
        except psycopg.Error:
            self._discard()
            raise
        if changed:
            self._discard()
        return changed - {PARTITIONS}

    def close(self):
        """Drop what is still there."""
        if self.name:
            self._discard()
        for name in self._left:
            drop(self.servers.database_url, name)

    @property
    def url(self):
        return sibling(self.servers.database_url, self.name)

    def _is_entered(self):
        """Return whether a session is open in the database; True if the server cannot be asked."""
        try:
            with self._connected() as conn:
                return bool(conn.execute(OTHERS).fetchall())
        except psycopg.OperationalError:
            return True

    @contextlib.contextmanager
    def _connected(self):
        """Return our session, or a new one if the test ended it or restarted the server."""
        try:
            if self._session is not None:
                self._session.execute("SELECT")
        except psycopg.OperationalError:
            self._session = None
        if self._session is None:
            self._session = open_session(self.url)
        yield self._session

    def _changed(self, conn):
        found = catalog(conn)
        return {kind for kind in CATALOG if found[kind] != self._pristine[kind]}

    def _discard(self):
        if self._session is not None:
            self._session.close()
        name, self.name, self._session = self.name, None, None
        try:
            drop(self.servers.database_url, name)
        except psycopg.Error:
            self._left.append(name)  # the server is down; it will be back at the end


def open_session(url):
    """Open a session that may empty all tables."""
    conn = psycopg.connect(url, autocommit=True, application_name="tests")
    # Triggers and foreign keys would slow this down, and one trigger protects `workshed.audit`.
    conn.execute(f"SET session_replication_role = replica; SET lock_timeout = '{PATIENCE_S}s'")
    return conn


def end_sessions(conn):
    """End all other sessions in this database, and wait until they have."""
    # `pg_terminate_backend` can wait for that itself, but polls only every 0.1 s.
    terminate = OTHERS.replace("SELECT pid", "SELECT pg_terminate_backend(pid)")
    deadline = time.monotonic() + PATIENCE_S
    while conn.execute(terminate).fetchall():
        if time.monotonic() > deadline:
            raise psycopg.OperationalError("a session does not end")
        time.sleep(0.002)


def catalog(conn):
    """Return a checksum of the database's objects by kind; equal if nothing was changed."""
    parts = [
        sql.SQL("(SELECT t::text FROM ({}) AS t)").format(sql.SQL(q)) for q in CATALOG.values()
    ]
    query = sql.SQL("SELECT {}").format(sql.SQL(", ").join(parts))
    return dict(zip(CATALOG, conn.execute(query).fetchone(), strict=True))


def drop_additions(conn):
    """Drop everything a test created outside of our schemas, and the triggers that use it."""
    for (statement,) in conn.execute(ADDITIONS).fetchall():
        conn.execute(statement)


def empty_while_workers_run(url, seeds):
    """Empty a database with running workers and relays, but keep the rows about those processes.

    Objects that a test created outside of our schemas are dropped.
    """
    with contextlib.closing(open_session(url)) as conn:
        drop_additions(conn)
        empty(conn, seeds, OF_PROCESSES)


def seeds(conn):
    """Return the rows of all non-empty tables, as JSON, by the names of schema and table."""
    rows = {table: _rows(conn, table) for table, _ in _tables(conn)}
    return {table: text for table, text in rows.items() if text is not None}


def empty(conn, seeds, spared=()):
    """Delete all rows, restore the seeds, and restart all sequences."""
    kept = {*seeds, *spared}
    tables = {table: size for table, size in _tables(conn) if size and table not in kept}
    large = [sql.Identifier(*table) for table, size in tables.items() if size > LARGE_BYTES]
    small = [sql.Identifier(*table) for table, size in tables.items() if size <= LARGE_BYTES]
    statements = [sql.SQL("DELETE FROM {}").format(table) for table in small]
    if large:
        statements.append(sql.SQL("TRUNCATE {} CASCADE").format(sql.SQL(", ").join(large)))
    statements.append(sql.SQL(RESTART))
    conn.execute(sql.SQL("; ").join(statements))
    for table, text in seeds.items():
        if _rows(conn, table) != text:
            _restore(conn, sql.Identifier(*table), text)


def _tables(conn):
    """Return all tables and partitions, each with its size in bytes."""
    query = """
        SELECT n.nspname, c.relname, pg_relation_size(c.oid)
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't'
    """
    return [((schema, name), size) for schema, name, size in conn.execute(query)]


def _rows(conn, table):
    query = sql.SQL("SELECT json_agg(t ORDER BY t::text)::text FROM {} AS t")
    return conn.execute(query.format(sql.Identifier(*table))).fetchone()[0]


def _restore(conn, table, text):
    with conn.transaction():
        conn.execute(sql.SQL("DELETE FROM {}").format(table))
        insert = sql.SQL(
            "INSERT INTO {table} OVERRIDING SYSTEM VALUE"
            " SELECT * FROM json_populate_recordset(NULL::{table}, {rows})"
        )
        conn.execute(insert.format(table=table, rows=sql.Literal(text)))
