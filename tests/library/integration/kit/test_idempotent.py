"""A job must leave the same state, however often it is delivered and wherever its process dies."""

import contextlib
from datetime import timedelta

import psycopg
import pytest

from workshed import db, schedule
from workshed.jobs import once
from workshed.testing.crashes import idempotence
from workshed.testing.fake_broker import SimulatedCrash


@pytest.fixture(scope="module")
def shop(jobs_database):
    """Tables of an application."""
    with psycopg.connect(jobs_database, autocommit=True) as conn:
        conn.execute("""
            CREATE SCHEMA store;
            CREATE TABLE store.orders (
                id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
                paid boolean NOT NULL DEFAULT false,
                token text,
                changed_at timestamptz,
                is_open boolean GENERATED ALWAYS AS (NOT paid) STORED
            );
            CREATE TABLE store.charges (
                id serial PRIMARY KEY,
                order_id bigint NOT NULL REFERENCES store.orders,
                sum int NOT NULL
            );
            CREATE TABLE store.entries (charge_id int REFERENCES store.charges, note text);
        """)
        yield
        conn.execute("DROP SCHEMA store CASCADE")


@pytest.fixture
def order(shop, jobs, jobs_database):
    """The id of an order that is not paid."""
    yield run("INSERT INTO store.orders DEFAULT VALUES RETURNING id")
    # The kit empties the tables that it knew before the first test of this process.
    with psycopg.connect(jobs_database) as conn:
        conn.execute("TRUNCATE store.orders CASCADE")
        conn.execute("TRUNCATE store.charges CASCADE")


@pytest.fixture
def job(actor):
    """`job(function)`: an actor that runs this function."""
    return lambda function, **options: actor(actor_name="bill", **options)(function)


def run(query, *values):
    """Run a statement in a transaction of its own; return the first value of its result."""
    with db.transaction() as conn:
        cur = conn.execute(query, values)
        return cur.fetchone()[0] if cur.description else None


LEAVES = "it leaves other data than a single run"
CHARGE = "INSERT INTO store.charges (order_id, sum) VALUES (%s, 500) RETURNING id"
PAY = "UPDATE store.orders SET paid = true, changed_at = now() WHERE id = %s"


def charge_and_pay(order):
    with db.transaction() as conn:
        conn.execute(CHARGE, (order,))
        conn.execute(PAY, (order,))


def charge_then_pay(order):
    """Right when it is delivered twice, but wrong when it dies between its transactions."""
    if not run("SELECT paid FROM store.orders WHERE id = %s", order):
        run(CHARGE, order)
        run(PAY, order)


def test_a_failure_shows_the_rows_that_are_too_many(jobs, job, order):
    with pytest.raises(AssertionError) as failed:
        jobs.assert_idempotent(job(charge_and_pay), order)

    assert str(failed.value).splitlines() == [
        f"bill({order}) is not idempotent: delivered a second time, {LEAVES}",
        "",
        "store.charges: 2 rows, not 1",
        f"  too many  id=new 2  order_id={order}  sum=500",
        "",
        idempotence.HINT,
    ]


def test_a_failure_after_a_crash_names_the_crash(jobs, job, order):
    with pytest.raises(AssertionError) as failed:
        jobs.assert_idempotent(job(charge_then_pay), order)

    assert "crashed after COMMIT (no. 2) and delivered again, it leaves" in str(failed.value)
    assert "store.charges: 2 rows, not 1" in str(failed.value)


def test_an_async_job_crashes_too(jobs, job, order):
    async def bill(order):
        charge_then_pay(order)

    with pytest.raises(AssertionError, match=r"crashed after COMMIT \(no. 2\) and delivered again"):
        jobs.assert_idempotent(job(bill), order)


def test_it_crashes_before_and_after_each_statement_and_commit(jobs, job, order):
    endured = jobs.assert_idempotent(job(charge_and_pay, once=True), order)

    key = "`INSERT INTO workshed.once_keys (scope, key, message_id) VALUES (%(scope)…`"
    pay = "`UPDATE store.orders SET paid = true, changed_at = now() WHERE id = %s`"
    assert list(endured.failpoints) == [
        f"{when} {what}"
        for what in (key, f"`{CHARGE}`", pay, "COMMIT")
        for when in ("before", "after")
    ]


def test_an_effect_under_a_key_endures(jobs, job, order):
    def bill(order):
        with db.transaction() as conn:
            if once(conn, f"charge {order}"):
                conn.execute(CHARGE, (order,))

    assert jobs.assert_idempotent(job(bill), order=order).repeated_mails == 0


def everything(order):
    """Use each way to run a statement, and change nothing."""
    with db.transaction() as conn, conn.cursor() as cur:
        cur.executemany("SELECT %s", [(1,), (2,)])
        list(cur.stream("SELECT 3"))
        with cur.copy("COPY (SELECT 4) TO STDOUT") as rows:
            list(rows)
        with conn.cursor("named") as named:
            named.execute(b"SELECT 5").fetchall()
        conn.commit()
        with conn.transaction(), conn.transaction():
            conn.execute(psycopg.sql.SQL("SELECT 6"))
    with db.autocommit_statement() as conn:
        conn.execute("SELECT 7")


def test_each_way_to_run_a_statement_is_seen(jobs, job, order):
    endured = jobs.assert_idempotent(job(everything), order)

    assert [place.removeprefix("after ") for place in endured.failpoints[1::2]] == [
        *("`SELECT %s`", "`SELECT 3`", "`COPY (SELECT 4) TO STDOUT`", "`SELECT 5`", "COMMIT"),
        *("`SELECT 6`", "COMMIT (no. 2)", "`SELECT 7`", "COMMIT (no. 3)"),
    ]


def test_no_handler_reaches_the_database_after_a_crash(jobs, job, order):
    """A killed process cleans nothing up, and neither does a simulated crash."""

    def bill(order):
        try:
            if not run("SELECT paid FROM store.orders WHERE id = %s", order):
                run(CHARGE, order)
        finally:
            run(PAY, order)

    with pytest.raises(AssertionError, match="crashed after COMMIT"):
        jobs.assert_idempotent(job(bill), order)


def lock_and_pay(order):
    with db.transaction() as conn:
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7"
        assert conn.execute(held).fetchone() == (0,)
        conn.execute("SELECT pg_advisory_lock(7)")
        conn.execute(PAY, (order,))
        conn.execute("SELECT pg_advisory_unlock(7)")


def test_locks_of_a_session_end_with_its_process(jobs, job, order):
    jobs.assert_idempotent(job(lock_and_pay, max_retries=0), order)


def test_a_crash_that_is_swallowed_is_a_crash(jobs, job, order):
    def bill(order):
        with contextlib.suppress(SimulatedCrash):
            lock_and_pay(order)

    jobs.assert_idempotent(job(bill, max_retries=0), order)


def test_numbers_and_times_may_differ_also_where_others_refer_to_them(jobs, job, order):
    """A crash before the commit leaves a gap in the numbers, and takes time."""
    charges = []

    def bill(order):
        with db.transaction() as conn:
            if conn.execute(f"{PAY} AND NOT paid", (order,)).rowcount:
                charges.append(conn.execute(CHARGE, (order,)).fetchone()[0])
                conn.execute("INSERT INTO store.entries VALUES (%s, 'paid')", (charges[-1],))

    jobs.assert_idempotent(job(bill), order)

    assert set(charges) == {charges[0], charges[0] + 1}  # each trial begins with the same number


def tokens(order):
    run("UPDATE store.orders SET token = gen_random_uuid()::text WHERE id = %s", order)


def test_a_value_that_differs_is_shown_with_both(jobs, job, order):
    run("UPDATE store.orders SET token = 'a'")

    def bill(order):
        run("UPDATE store.orders SET token = token || 'b' WHERE id = %s", order)

    with pytest.raises(AssertionError, match=f"  id={order}  token is abb, not ab\n"):
        jobs.assert_idempotent(job(bill), order)


@pytest.mark.parametrize("name", ["token", "orders.token", "store.orders.token", "store.orders"])
def test_ignored_columns_and_tables_may_differ(jobs, job, order, name):
    jobs.assert_idempotent(job(tokens), order, ignore=[name])


def test_ignored_columns_and_tables_must_exist(jobs, job, order):
    with pytest.raises(ValueError, match="neither a column nor a table: tokn"):
        jobs.assert_idempotent(job(tokens), order, ignore=["token", "tokn"])


def test_a_job_that_is_sent_again_is_seen_while_it_waits(jobs, job, actor, greet):
    def bill(user_id):
        greet.send_with_options(args=(user_id,), delay=timedelta(days=3))

    with pytest.raises(AssertionError, match=r"jobs that wait: 2 rows, not 1") as failed:
        jobs.assert_idempotent(job(bill), 7)

    assert "too many  job=greet(7)  queue=default" in str(failed.value)


def test_jobs_that_a_job_sends_run_too(jobs, job, actor, order):
    pay = actor(actor_name="pay")(lambda order: run(CHARGE, order) and None)

    with pytest.raises(AssertionError, match=r"store.charges: 2 rows, not 1"):
        jobs.assert_idempotent(job(lambda order: pay.send(order) and None), order)


def test_a_failure_because_of_its_own_first_run_says_where(jobs, job, order):
    def bill(order):
        run("INSERT INTO store.charges VALUES (1000, %s, 500)", order)

    with pytest.raises(
        AssertionError, match=r"a second time, bill\(\d+\) died: failed once: UniqueV"
    ) as failed:
        jobs.assert_idempotent(job(bill, max_retries=0), order)

    assert isinstance(failed.value.__cause__, psycopg.errors.UniqueViolation)


def test_an_error_without_a_crash_is_raised_as_it_is(jobs, job, order):
    with pytest.raises(ZeroDivisionError):
        jobs.assert_idempotent(job(lambda order: order / 0, max_retries=0), order)


def test_a_retry_is_run_when_it_is_due(jobs, job, order):
    def bill(order):
        if not run("SELECT token FROM store.orders WHERE id = %s", order):
            run("UPDATE store.orders SET token = 'asked' WHERE id = %s", order)
            raise TimeoutError
        run(PAY, order)

    jobs.assert_idempotent(job(bill), order)

    assert run("SELECT paid FROM store.orders")


def test_each_trial_begins_with_the_same_rows(jobs, job, order):
    """This holds for any order of the tables, and for rows that a trigger would write again."""
    charge = run(CHARGE, order)
    run("INSERT INTO store.entries VALUES (%s, 'old')", charge)
    with contextlib.closing(db.connect()) as conn:
        conn.execute("""
            CREATE FUNCTION store.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                INSERT INTO store.entries VALUES (NEW.id, 'charged'); RETURN NULL; END $$;
            CREATE TRIGGER note AFTER INSERT ON store.charges
                FOR EACH ROW EXECUTE FUNCTION store.note();
        """)
        seen = []

        def bill(order):
            seen.append(run("SELECT count(*) FROM store.entries"))
            run("DELETE FROM store.entries")
            run(PAY, order)

        jobs.assert_idempotent(job(bill), order)
        conn.execute("DROP FUNCTION store.note CASCADE")

    # Each trial begins with one row; the second delivery may find that it was deleted.
    assert seen[:2] == [1, 1]
    assert set(seen) == {0, 1}
    assert run("SELECT id FROM store.charges") == charge


def test_the_test_goes_on_as_if_the_job_had_run_once(jobs, job, order, greet):
    before = jobs.freeze()

    def bill(order):
        greet.send(order)
        schedule_again(order, greet)

    jobs.assert_idempotent(job(bill, once=True), order)

    assert jobs.runs == []
    assert jobs.freeze() == before
    jobs.assert_enqueued(greet, order, times=1)


def schedule_again(order, greet):
    with db.transaction() as conn:
        schedule.send(conn, greet.message(order), delay=timedelta(days=1))


def test_a_job_that_a_fixture_has_sent_is_left_alone(jobs, job, actor, order, greet):
    """If it ran, its effects would count as those of the job under test."""

    @actor(actor_name="charge_again")
    def charge_again():
        run(CHARGE, order)

    def bill(order):
        run(PAY, order)
        greet.send(order)

    charge_again.send()
    charge_again.send_with_options(delay=1_000)

    jobs.assert_idempotent(job(bill, once=True), order)

    jobs.assert_enqueued(charge_again, times=2)
    assert run("SELECT count(*) FROM store.charges") == 0
    assert greet.greeted  # a job that the job under test sends does run


def test_changes_to_a_waiting_job_are_compared(jobs, job, order, greet):
    waiting = greet.send_with_options(args=(1,), delay=60_000)

    def charge_or_cancel(order):
        if not run("SELECT count(*) FROM store.charges"):
            run(CHARGE, order)
            return
        with db.transaction() as conn:
            schedule.cancel(conn, waiting.message_id)

    with pytest.raises(AssertionError, match=r"jobs that wait: 0 rows, not 1[^$]*greet\(1\)"):
        jobs.assert_idempotent(job(charge_or_cancel), order)
