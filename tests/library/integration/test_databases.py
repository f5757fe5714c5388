"""The database that tests share is as good as a fresh one for each of them."""

import psycopg
import pytest
from psycopg import sql

from tests.databases import CATALOG, LARGE_BYTES, SharedDatabase, sibling

STORE = """
    INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
    SELECT 'job ' || n, 0, 'default', 'greet', repeat('x', 100), 'transactional', now()
      FROM generate_series(1, {}) AS n
"""
NOTE = """
    INSERT INTO workshed.audit (performed_by, action, details, count, summary)
    VALUES ('ada', '', '{}', 0, '')
"""

CHANGES = {
    "tables, views or indexes": "DROP INDEX workshed.runs_of_parent",
    "columns": "ALTER TABLE workshed.once_keys ALTER done_at SET DEFAULT '2000-01-01'",
    "functions": """
        CREATE OR REPLACE FUNCTION workshed.now() RETURNS timestamptz LANGUAGE sql STABLE
            RETURN '2000-01-01'::timestamptz
    """,
    "triggers": "ALTER TABLE workshed.audit DISABLE TRIGGER USER",
    "constraints": "ALTER TABLE workshed.dead ADD CHECK (false) NOT VALID",
    "sequences": "ALTER SEQUENCE workshed.limit_waiter_seq INCREMENT 7",
    "policies": "CREATE POLICY none ON workshed.once_keys",
    "schemas": "GRANT USAGE ON SCHEMA workshed TO PUBLIC",
    "extensions": "DROP EXTENSION plpgsql CASCADE",
    "default rights": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA workshed GRANT SELECT ON TABLES TO PUBLIC"
    ),
    "settings": "ALTER DATABASE {database} SET lock_timeout = '1s'",
    "rights": "REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
}


@pytest.fixture
def shared(servers, template_database):
    """A shared database that is not the one of this process."""
    shared = SharedDatabase(servers, template_database)
    yield shared
    shared.close()


@pytest.fixture
def open_session():
    """`open_session(url)`: a session in autocommit, as from a test or one of its processes."""
    opened = []

    def open_one(url):
        opened.append(psycopg.connect(url, autocommit=True))
        return opened[-1]

    yield open_one
    for session in opened:
        session.close()


@pytest.fixture
def execute(shared):
    """`execute(statement)`: a test that only runs this; the kinds of objects that it changed."""

    def run(statement):
        with psycopg.connect(shared.take(), autocommit=True) as conn:
            conn.execute(statement.replace("{database}", shared.name))
        return shared.give_back()

    return run


def contents(conn):
    """Return all rows of all tables, and the last values of sequences."""
    tables = conn.execute("""
        SELECT n.nspname, c.relname
          FROM pg_class AS c
          JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND n.nspname ~ '^(workshed|shop|workshed_[a-z]+)$'
    """).fetchall()
    rows = sql.SQL("SELECT t::text FROM {} AS t ORDER BY 1")
    found = {name: conn.execute(rows.format(sql.Identifier(*name))).fetchall() for name in tables}
    sequences = conn.execute("SELECT schemaname, sequencename, last_value FROM pg_sequences")
    return found, sorted(sequences)


def test_the_next_test_finds_the_state_after_the_migrations(
    shared, open_session, fresh_database_url
):
    with open_session(shared.take()) as conn:
        conn.execute(STORE.format(3))
        conn.execute(NOTE)
        conn.execute("SELECT nextval('workshed.limit_waiter_seq')")
        conn.execute("INSERT INTO shop.users (name, email) VALUES ('Ada', 'ada@example.org')")
        conn.execute("UPDATE workshed.pruned SET done_at = '2000-01-01' WHERE name = 'attempts'")
        conn.execute("DELETE FROM workshed.pruned WHERE name = 'batches'")
        conn.execute("INSERT INTO workshed.pruned VALUES ('more')")
        conn.execute("DELETE FROM workshed.migrations")
    name = shared.name

    assert shared.give_back() == set()

    found, fresh = open_session(shared.take()), open_session(fresh_database_url)
    assert shared.name == name
    assert contents(found) == contents(fresh)


def test_a_large_table_keeps_no_room_for_deleted_rows(shared, execute, open_session):
    size = "SELECT pg_table_size('workshed.schedule')"
    with open_session(shared.take()) as conn:
        before = conn.execute(size).fetchone()

    assert execute(STORE.format(LARGE_BYTES // 100)) == set()

    assert open_session(shared.take()).execute(size).fetchone() == before


def test_objects_that_a_test_creates_in_other_schemas_are_dropped(shared, execute, open_session):
    shared.take()
    name = shared.name

    changed = execute("""
        CREATE TABLE effects (number integer GENERATED ALWAYS AS IDENTITY);
        CREATE VIEW seen AS SELECT * FROM effects;
        CREATE SEQUENCE numbers;
        CREATE TABLE charges (number serial);
        CREATE SCHEMA store CREATE TABLE orders (id integer PRIMARY KEY);
        CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''no''; END';
        CREATE TRIGGER fail BEFORE INSERT ON workshed.schedule EXECUTE FUNCTION public.fail();
    """)

    assert changed == set()
    conn = open_session(shared.take())
    assert shared.name == name
    conn.execute(STORE.format(1))
    assert conn.execute(
        "SELECT to_regclass('effects'), to_regclass('store.orders')"
    ).fetchone() == (
        None,
        None,
    )


def test_every_compared_kind_is_changed_here():
    assert {*CHANGES, "partitions"} == CATALOG.keys()


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_that_emptying_does_not_undo_is_named_and_the_database_replaced(
    kind, shared, execute, open_session
):
    shared.take()
    name = shared.name

    assert kind in execute(CHANGES[kind])

    conn = open_session(shared.take())
    assert shared.name != name
    there = "SELECT count(*) FROM pg_database WHERE datname = %s"
    assert conn.execute(there, (name,)).fetchone() == (0,)


def test_a_partition_that_a_relay_adds_is_no_mistake_of_the_test(shared, execute):
    changed = execute("""
        CREATE TABLE workshed.runs_2026_01_31 PARTITION OF workshed.runs
           FOR VALUES FROM ('2026-01-31 00:00Z') TO ('2026-02-01 00:00Z')
    """)

    assert changed == set()
    assert shared.name is None


def test_sessions_of_the_test_are_ended_and_their_locks_released(shared, open_session):
    conn = open_session(shared.take())
    name = shared.name
    conn.execute("LISTEN jobs")
    conn.execute("SELECT pg_advisory_lock(1)")
    conn.execute("BEGIN")
    conn.execute("LOCK TABLE workshed.schedule")

    assert shared.give_back() == set()

    shared.take()
    assert shared.name == name
    with pytest.raises(psycopg.OperationalError):
        conn.execute("SELECT 1")


def test_a_process_that_connects_after_its_test_is_not_in_the_database_of_the_next(
    shared, open_session
):
    url = shared.take()
    shared.give_back()
    late = open_session(url)

    assert shared.take() != url

    with pytest.raises(psycopg.OperationalError):
        late.execute(NOTE)


def test_a_server_that_was_restarted_has_the_database_as_before(servers, shared):
    url = shared.take()
    servers.postgres.restart()

    assert shared.give_back() == set()
    assert shared.take() == url


def test_if_the_server_is_away_the_next_test_gets_another_database(servers, shared, open_session):
    url = shared.take()
    servers.postgres.stop()
    try:
        assert shared.give_back() == set()
    finally:
        servers.postgres.start()

    assert shared.take() != url
    shared.close()
    there = "SELECT count(*) FROM pg_database WHERE datname = %s"
    conn = open_session(servers.database_url)
    assert conn.execute(there, (url.rpartition("/")[2],)).fetchone() == (0,)


def test_a_database_of_another_server_is_found_by_its_name():
    assert sibling("amqp://a:b@host:5672/%2F?x=1", "shop") == "amqp://a:b@host:5672/shop?x=1"
