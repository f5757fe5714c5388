"""The queries of a relay stay quick, whatever the statistics say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from workshed.jobs.control import queues
from workshed.jobs.outbox import claims, relays

ROWS = 20_000
LONG_AGO = timedelta(seconds=-1)
TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def said_to_be_empty(conn, connect):
    """A schedule of many rows, a tenth of them due, last analyzed when it was empty.

    This happens after a busy hour and a bulk insert: PostgreSQL estimates the number of rows from
    the pages that were in use.
    """
    conn.autocommit = True
    old = connect()
    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    old.execute("SELECT count(*) FROM workshed.schedule")
    fill(conn, 1_000)
    conn.execute("DELETE FROM workshed.schedule")
    conn.execute("ANALYZE workshed.schedule")
    old.rollback()
    fill(conn, ROWS)
    queues.declare_queues(conn, {"default": "quorum", "emails": "classic"})
    claims.use_indexes(conn)
    conn.autocommit = False
    return conn


def fill(conn, number):
    query = """
        INSERT INTO workshed.schedule (message_id, generation, queue, actor, body, reason, due_at)
        SELECT gen_random_uuid(), 0, 'default', 'greet', '{}', 'delayed',
               workshed.now() + (n - 0.1 * %(number)s) * interval '1 second'
          FROM generate_series(1, %(number)s) AS n
    """
    conn.execute(query, {"number": number})


def taken(conn, relay):
    relays.record_relay(conn, relay, "here", 1)
    return claims.claim_due(conn, relay, 10)


def silenced(conn, relay):
    taken(conn, relay)
    conn.execute("UPDATE workshed.relays SET beat_at = beat_at - interval '1 hour'")
    conn.execute(
        "UPDATE workshed.schedule SET claimed_at = claimed_at - interval '1 hour' "
        "WHERE claimed_by = %s",
        (relay,),
    )


def nothing(conn, relay):
    pass


def mailed(conn, relay):
    rows = [replace(row, queue="emails") for row in taken(conn, relay)]
    conn.execute("UPDATE workshed.schedule SET queue = 'emails' WHERE claimed_by = %s", (relay,))
    claims.delete_sent(conn, relay, rows)


def kept(conn, relay):
    conn.execute(
        "UPDATE workshed.schedule SET queue = 'emails', sent_at = due_at, seen_empty_at = due_at"
    )


QUERIES = {
    "take": (nothing, lambda conn, relay, _: claims.claim_due(conn, relay, 10)),
    "adopt": (silenced, lambda conn, _, __: claims.claim_orphaned(conn, uuid4(), 10)),
    "sent": (taken, claims.delete_sent),
    "put back": (
        taken,
        lambda conn, relay, rows: claims.release_rows(
            conn, relay, rows, timedelta(), unknown=[False] * len(rows)
        ),
    ),
    "next due": (nothing, lambda conn, _, __: claims.time_until_due(conn)),
    "lag": (nothing, lambda conn, _, __: claims.oldest_due_age(conn)),
    "kept queues": (kept, lambda conn, _, __: claims.list_kept_queues(conn)),
    "absent": (mailed, lambda conn, _, __: claims.mark_seen_empty(conn, "emails", TOMORROW)),
    "resend": (kept, lambda conn, _, __: claims.release_lost(conn, LONG_AGO, limit=10)),
}


@pytest.mark.parametrize(("before", "query"), QUERIES.values(), ids=QUERIES)
def test_no_query_scans_the_table_if_statistics_say_that_it_is_empty(
    said_to_be_empty, before, query
):
    """PostgreSQL orders joins by the statistics: with a million rows, a window takes a minute."""
    conn, relay = said_to_be_empty, uuid4()
    found = before(conn, relay)
    reads = reads_of(conn)

    assert query(conn, relay, found)

    assert reads_of(conn) - reads <= 20


def reads_of(conn):
    """How many rows of the schedule this transaction has read."""
    query = """
        SELECT COALESCE(seq_tup_read, 0) + COALESCE(idx_tup_fetch, 0)
          FROM pg_stat_xact_user_tables WHERE relname = 'schedule'
    """
    return conn.execute(query).fetchone()[0]
