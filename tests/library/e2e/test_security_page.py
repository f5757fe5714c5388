"""docs/security.md: the rights that it grants suffice, and its list of functions is right."""

import secrets
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import pytest

from tests import pages
from workshed.migrate import list_streams

PAGE = pages.text("docs/security.md")
GRANTS = pages.block("docs/security.md", "grants")
ACTORS = """
import dramatiq
from workshed import Limit, Unique, broker
from workshed.cronspec import cron

@dramatiq.actor(
    broker=broker, queue_name="low", once=True, unique=Unique(), limit=Limit.concurrent(1)
)
def greet(name):
    pass

@dramatiq.actor(broker=broker, queue_name="low", max_retries=1, min_backoff=1)
def fail():
    raise OSError("no")

@dramatiq.actor(broker=broker, queue_name="low", periodic=cron("* * * * *"))
def tick():
    pass
"""


@pytest.fixture
def as_worker(conn, database, tmp_path):
    """The database URL of a role with the rights that the page grants."""
    (tmp_path / "greeting.py").write_text(ACTORS)
    role = f"worker_{secrets.token_hex(6)}"
    conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    for schema in list_streams():
        words = GRANTS.replace("SCHEMA workshed", f"SCHEMA {schema}")
        conn.execute(words.replace("TO worker", f"TO {role}"))
    conn.commit()
    parts = urlsplit(database)
    yield urlunsplit(parts._replace(netloc=f"{role}:pw@{parts.netloc.rpartition('@')[2]}"))
    conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    conn.commit()


@pytest.mark.fresh_database
def test_with_the_rights_of_the_page_a_worker_and_a_relay_work_and_run_jobs_stored_by_sql(
    as_worker, start_worker, conn, count, eventually
):
    worker = start_worker("greeting", env={"WORKSHED_DATABASE_URL": as_worker})
    insert = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        VALUES (%s, 0, 'low', %s, %s, 'transactional', workshed.now())
    """

    for name, args in (("greet", ("by hand",)), ("fail", ())):
        message = dramatiq.Message("low", name, args, {}, {})
        conn.execute(insert, (message.message_id, name, message.encode().decode()))

    eventually(lambda: count("workshed.runs WHERE actor = 'greet' AND outcome = 'succeeded'"))
    eventually(lambda: count("workshed.dead WHERE actor = 'fail'"))
    assert count("workshed.attempts WHERE actor = 'fail'") == 2
    assert count("workshed.periodic_jobs WHERE name = 'tick'") == 1
    assert "permission denied" not in worker.text()


def test_the_functions_that_run_with_the_rights_of_their_owner_are_those_of_the_page(conn):
    query = """
        SELECT pronamespace::regnamespace || '.' || proname,
               proconfig[1] = 'search_path=pg_catalog, pg_temp',
               has_function_privilege('public', oid, 'EXECUTE')
          FROM pg_proc
         WHERE prosecdef AND pronamespace IN ('workshed'::regnamespace, 'shop'::regnamespace)
         ORDER BY 1
    """
    found = conn.execute(query).fetchall()

    assert found == [
        ("shop.forget_user", True, False),
        ("workshed.add_runs_partitions", True, True),
        ("workshed.assert_sender", True, True),
        ("workshed.audit_login", True, False),
        ("workshed.count_login", True, False),
        ("workshed.count_runs", True, False),
        ("workshed.count_unrecorded_runs", True, False),
        ("workshed.create_periodic_run", True, False),
        ("workshed.drop_runs_partitions", True, False),
        ("workshed.insert_with_key", True, False),
        ("workshed.send", True, False),
        ("workshed.sendable_actors", True, True),
    ]
    assert all(f"`{name}`" in PAGE for name, *_ in found)
