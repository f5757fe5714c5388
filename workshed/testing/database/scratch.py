"""The database of a test run: created, changed and dropped only by the kit."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from itertools import count

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from workshed import db
from workshed.db import Connection
from workshed.migrate import apply_pending, list_streams
from workshed.testing.errors import ScratchError

DATABASE_COMMENT = "Made by Workshed's test kit, which drops it"
LONGEST_BASE_NAME = 40

# Lets the clock move, and keeps rows that are due at the same time in the order in which they were
# sent. Only a test database has these objects.
CLOCK_SQL = """
    CREATE TABLE workshed.clock (shift interval NOT NULL, stopped_at timestamptz);
    INSERT INTO workshed.clock VALUES ('0');
    CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz
        LANGUAGE sql STABLE PARALLEL SAFE
        RETURN (SELECT COALESCE(stopped_at, statement_timestamp() + shift) FROM workshed.clock);
    CREATE OR REPLACE FUNCTION workshed.wall_clock() RETURNS timestamptz
        LANGUAGE sql VOLATILE PARALLEL SAFE
        RETURN (SELECT COALESCE(stopped_at, clock_timestamp() + shift) FROM workshed.clock);
    ALTER TABLE workshed.schedule ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY;
"""

# The messages in flight in mode `real`, and the place at which an actor's worker is to crash, or
# NULL for the end of the actor.
IN_FLIGHT_SQL = """
    CREATE TABLE workshed.travels (
        message_id text NOT NULL,
        generation        integer NOT NULL,
        ended      boolean NOT NULL,
        PRIMARY KEY (message_id, generation)
    );
    CREATE TABLE workshed.crashes (actor text PRIMARY KEY, place text);
    CREATE FUNCTION workshed.note_travel() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO workshed.travels VALUES (NEW.message_id, NEW.generation, false)
            ON CONFLICT DO NOTHING;
        RETURN NULL;
    END $$;
    CREATE TRIGGER schedule_travels AFTER UPDATE ON workshed.schedule
        FOR EACH ROW WHEN (NEW.claimed_by IS NOT NULL) EXECUTE FUNCTION workshed.note_travel();
"""


@contextmanager
def scratch_database(server: str, worker: str) -> Generator[str]:
    """Create a migrated database next to the one that `server` names; yield its URL.

    Its name is `…_test_<worker>`, or `…_test_<worker>_2` if another run uses that. A database that
    a killed run left behind is recreated.
    """
    with _connect(server) as keeper:
        name = _reserve_name(keeper, f"{_database_name(server)[:LONGEST_BASE_NAME]}_test_{worker}")
        _drop(keeper, name)
        _create(keeper, name, server)
        try:
            url = _replace_database(server, name)
            with db.Connection.connect(url, autocommit=True) as conn:
                apply_pending(conn, list_streams())
            yield url
        finally:
            _drop(keeper, name)


def prepare_database(conn: Connection) -> None:
    """Create what the kit needs in a migrated database, unless it is there."""
    if conn.execute("SELECT to_regclass('workshed.clock')").fetchone() == (None,):
        with conn.transaction():
            conn.execute(CLOCK_SQL)
            conn.execute(IN_FLIGHT_SQL)


def list_empty_tables(conn: Connection) -> list[sql.Identifier]:
    """Return the tables that are still empty: tests fill them, and the kit empties them."""
    query = """
        SELECT n.nspname, c.relname
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
           AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%'
           AND c.oid IS DISTINCT FROM to_regclass('workshed.audit')  -- of which nothing is deleted
    """
    tables = [sql.Identifier(*names) for names in conn.execute(query)]
    holds = sql.SQL("SELECT EXISTS (SELECT FROM {})")
    return [t for t in tables if conn.execute(holds.format(t)).fetchone() == (False,)]


def list_existing_tables(conn: Connection, tables: list[sql.Identifier]) -> list[sql.Identifier]:
    """Return the tables that still exist."""
    query = "SELECT to_regclass(%s) IS NOT NULL"
    return [t for t in tables if conn.execute(query, (t.as_string(conn),)).fetchone() == (True,)]


def delete_all(tables: list[sql.Identifier]) -> sql.Composed:
    """Return one statement that empties all tables, so that foreign keys are checked at its end."""
    deletions = [
        sql.SQL("{} AS (DELETE FROM {})").format(sql.Identifier(f"t{n}"), table)
        for n, table in enumerate(tables)
    ]
    return sql.SQL("WITH {} SELECT").format(sql.SQL(", ").join(deletions))


def end_transactions(conn: Connection) -> None:
    """Terminate all other connections that have a transaction open in this database."""
    query = """
        SELECT pg_terminate_backend(pid, 1000)
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
    """
    conn.execute(query)


def _connect(url: str) -> Connection:
    try:
        return db.Connection.connect(url, autocommit=True, **db.CONNECT_OPTIONS)
    except psycopg.OperationalError as err:
        raise ScratchError(
            f"PostgreSQL does not answer at {db.describe_address(url)} (WORKSHED_DATABASE_URL): "
            f"{str(err).strip()}. Start it, or unset the variable for a private one"
        ) from None


def _reserve_name(keeper: Connection, prefix: str) -> str:
    """Return a name that no other run uses now; it is reserved as long as `keeper` is open."""
    for number in count(1):
        name = prefix if number == 1 else f"{prefix}_{number}"
        query = "SELECT pg_try_advisory_lock(hashtext('workshed test kit'), hashtext(%s))"
        if keeper.execute(query, (name,)).fetchone() == (True,):
            break
    return name


def _drop(keeper: Connection, name: str) -> None:
    """Drop a database of the kit; raises `ScratchError` if the kit did not create it."""
    query = """
        SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s
    """
    found = keeper.execute(query, (name,)).fetchone()
    if found is None:
        return
    if found[0] != DATABASE_COMMENT:
        raise ScratchError(
            f"the database {name!r} exists, but the test kit did not create it: "
            "the kit uses that name, so rename or drop your database"
        )
    keeper.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _create(keeper: Connection, name: str, server: str) -> None:
    names = sql.Identifier(name)
    try:
        keeper.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(names))
    except psycopg.errors.InsufficientPrivilege:
        role = keeper.info.user
        raise ScratchError(
            f"role {role!r} may not create a database at {db.describe_address(server)}: the test "
            f"kit works in {name!r} and never touches {_database_name(server)!r}. ALTER ROLE "
            f"{role} "
            "CREATEDB, or unset WORKSHED_DATABASE_URL for a private PostgreSQL"
        ) from None
    keeper.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(names, sql.Literal(DATABASE_COMMENT))
    )
    # Nothing must survive a crash, because the database is dropped anyway.
    keeper.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(names))


def _database_name(url: str) -> str:
    parts = conninfo_to_dict(url)
    return str(parts.get("dbname") or parts.get("user") or "workshed")


def _replace_database(url: str, database: str) -> str:
    # `urlsplit` does not read a list of hosts.
    return re.sub(r"(://[^/?#]*)[^?#]*", lambda found: f"{found[1]}/{database}", url, count=1)
