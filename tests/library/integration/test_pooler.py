"""PgBouncer in front of PostgreSQL, in transaction mode."""

import contextlib

import psycopg
import pytest

from tests.faults.relaying import relaying
from tests.pooler import pooled
from workshed import db, schedule
from workshed.console.doctor import CHECKS, build_context, run_checks
from workshed.errors import PoolerModeError
from workshed.jobs.outbox import worker_claims
from workshed.settings import settings


@pytest.fixture
def through(monkeypatch, database, eventually):
    """`through()`: from now on this process reaches PostgreSQL through PgBouncer."""
    running = contextlib.ExitStack()

    def use(**options):
        url = running.enter_context(pooled(database, eventually, **options))
        monkeypatch.setenv("WORKSHED_DATABASE_URL", url)
        settings.cache_clear()
        db.forget_pool()
        return url

    yield use
    if db.has_pool():
        db.get_pool().close()
    db.forget_pool()
    running.close()


def found():
    checks = [check for check in CHECKS if check.name in ("PostgreSQL", "pooler")]
    [finding] = run_checks(build_context(("tests.library.actors",), 1, 8), checks)["pooler"]
    return finding


def test_the_doctor_warns_of_a_pooler_in_transaction_mode(through):
    through()

    finding = found()

    assert finding.level == "warning"
    assert "a pooler shares PostgreSQL sessions between transactions" in finding.message
    assert finding.fix.startswith("export WORKSHED_DATABASE_URL=postgresql://…")


def test_it_warns_of_a_pooler_that_takes_sessions_in_turn(through, eventually):
    through(server_round_robin=1, min_pool_size=3)

    # It fills its pool at a time of its own; until then all share a single session.
    eventually(lambda: found().level == "warning")


def test_it_does_not_warn_of_session_mode(through):
    through(pool_mode="session")

    assert found().level == "ok"


@pytest.mark.usefixtures("database")
def test_it_does_not_warn_without_a_pooler():
    assert found().level == "ok"


def test_the_doctor_leaves_no_time_limit_in_the_session(through):
    """A pooler does not reset the settings of a session: a migration would end after 4 s."""
    url = through(default_pool_size=1)

    with build_context(("tests.library.actors",), 1, 8).connect():
        pass

    with psycopg.connect(url) as conn:
        assert conn.execute("SHOW statement_timeout").fetchone() == ("0",)


def test_a_worker_leaves_no_planner_settings_in_the_session(through):
    url = through(default_pool_size=1)

    with db.connect() as conn:
        worker_claims.reuse_plans(conn)

    with psycopg.connect(url) as conn:
        assert conn.execute("SHOW enable_seqscan").fetchone() == ("on",)
        assert conn.execute("SHOW plan_cache_mode").fetchone() == ("auto",)


@pytest.mark.parametrize("most", [0, 100])
def test_jobs_are_stored_sent_run_and_retried_through_it(
    through, broker, actor, working, most, eventually
):
    """If psycopg prepared statements, the sixth of a kind would meet a session without it."""
    through(default_pool_size=4, max_prepared_statements=most)
    runs = []

    @actor(queue_name="low", min_backoff=1, max_backoff=1, once=True)
    def note(number):
        with db.transaction() as conn:
            conn.execute("SELECT %s", (number,))
        runs.append(number)
        if runs.count(number) == 1 and number % 4 == 0:
            raise OSError("no")

    with working("low", threads=4), relaying(broker.urls):
        for number in range(24):
            with db.transaction() as conn:
                schedule.send(conn, note.message(number))
        eventually(lambda: len(runs) == 30)

    assert sorted(set(runs)) == list(range(24))


def test_a_statement_still_ends_with_its_time_limit(through):
    """The timeout is set for the transaction, not for the session."""
    through(default_pool_size=1)
    token = db.deadline.set(0.0)  # long past, so that five seconds are left
    try:
        with db.transaction() as conn:
            (timeout,) = conn.execute("SHOW statement_timeout").fetchone()
    finally:
        db.deadline.reset(token)
    with db.transaction() as conn:
        (after,) = conn.execute("SHOW statement_timeout").fetchone()

    assert (timeout, after) == ("5s", "0")


def test_a_pooler_in_statement_mode_is_refused_with_a_clear_message(through):
    """Otherwise there would be a traceback, and the doctor would report a fault of its own."""
    through(pool_mode="statement")

    with pytest.raises(PoolerModeError) as refused:
        db.connect()
    checks = [check for check in CHECKS if check.name == "PostgreSQL"]
    [finding] = run_checks(build_context(("tests.library.actors",), 1, 8), checks)["PostgreSQL"]

    assert "is in statement pooling mode, and Workshed needs transactions" in str(refused.value)
    assert (finding.level, finding.message) == ("failed", str(refused.value))
