"""A send and a worker take no advisory locks, and notify nothing: both would cost each commit."""

import re

from tests.root import ROOT
from workshed import db, schedule
from workshed.jobs.outbox import worker_claims
from workshed.jobs.outbox.worker_claims import QueueRoom, RowClaim
from workshed.middleware import Unique

LOCKS = "SELECT objid FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
NOTIFIES = re.compile(r"\bpg_notify\b|\bNOTIFY\s+\w")


def read_locks(conn):
    """Return the advisory locks of a transaction that is open."""
    return conn.execute(LOCKS).fetchall()


def test_the_query_sees_an_advisory_lock(database):
    with db.transaction() as conn:
        conn.execute("SELECT pg_advisory_xact_lock(7)")
        assert read_locks(conn) == [(7,)]


def test_a_send_takes_none(broker, actor):
    plain = actor(queue_name="default", actor_name="plain")(lambda number: None)
    unique = actor(queue_name="default", actor_name="unique", unique=Unique())(lambda number: None)

    with db.transaction() as conn:
        schedule.send(conn, plain.message(1))
        schedule.send(conn, unique.message(1))
        schedule.send_many(conn, [plain.message(number) for number in range(100)])
        assert read_locks(conn) == []


def test_a_claim_and_the_end_of_a_job_take_none(broker, actor, connect):
    plain = actor(queue_name="default", actor_name="plain")(lambda number: None)
    for number in range(3):
        plain.send(number)
    with connect() as conn:
        worker = conn.execute("SELECT gen_random_uuid()").fetchone()[0]
        rows = worker_claims.claim_ready(conn, worker, [QueueRoom("default", 3, 4)])
        claims = [RowClaim(worker, row.message_id, row.generation, row.claimed_at) for row in rows]
        assert claims[0].end(conn)
        assert worker_claims.delete_ended(conn, claims[1:2]) == 1
        assert worker_claims.release_claimed(conn, claims[2:], started=False) == 1
        assert read_locks(conn) == []


def test_no_statement_notifies(conn):
    query = "SELECT prosrc FROM pg_proc WHERE pronamespace = 'workshed'::regnamespace"
    functions = [body or "" for (body,) in conn.execute(query)]
    folders = [ROOT / "workshed" / name for name in ("jobs", "middleware", "transport")]
    modules = [path.read_text() for folder in folders for path in folder.rglob("*.py")]

    assert len(functions) > 20
    assert [one for one in functions + modules if NOTIFIES.search(one)] == []
