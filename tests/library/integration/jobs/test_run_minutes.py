"""Each run is counted once, whatever happens while it is recorded or its count is moved."""

import secrets
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg import sql

from workshed.jobs.history import run_minutes, runs
from workshed.jobs.history.copy_format import encode_row
from workshed.jobs.history.histogram import BUCKETS
from workshed.jobs.history.run_minutes import OTHER, RunKind, TimeRange
from workshed.transport.relay import background, run_counts
from workshed.transport.relay.background import BackgroundTasks
from workshed.transport.relay.run_counts import PAUSE_S, POLL_S, RunCountMover

MINUTE = timedelta(minutes=1)
ALWAYS = TimeRange(datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
RECORDED = """
    SELECT date_trunc('minute', recorded_at), actor, queue, release, outcome, count(*)
      FROM workshed.runs GROUP BY 1, 2, 3, 4, 5
"""
COUNTED = """
    SELECT minute, actor, queue, release, outcome, sum(count)
      FROM (SELECT minute, actor, queue, release, outcome, count FROM workshed.run_minutes
             UNION ALL
            SELECT minute, actor, queue, release, outcome, count FROM workshed.run_counts) AS c
     GROUP BY 1, 2, 3, 4, 5
"""
IN_ALL = """
    SELECT minute, outcome, sum(count)
      FROM (SELECT minute, outcome, count FROM workshed.run_totals
             UNION ALL
            SELECT minute, outcome, count FROM workshed.run_counts) AS c
     GROUP BY 1, 2
"""


move_run_counts = RunCountMover()


@pytest.fixture
def conn(connect):
    return connect(autocommit=True)


@pytest.fixture
def moved(conn):
    """`moved()`: the number of rows that relays have not moved, after one has had its turn."""

    def move():
        while move_run_counts(conn) == PAUSE_S:
            pass
        return conn.execute("SELECT count(*) FROM workshed.run_counts").fetchone()[0]

    return move


def write(conn, *message_ids, **fields):
    """Record runs with one statement, as a worker does."""
    runs.write_runs(conn, [row(name, **fields) for name in message_ids])


def row(message_id, **fields):
    usual = {
        "generation": 0,
        "attempt": 1,
        "queue": "default",
        "actor": "greet",
        "outcome": "succeeded",
        "sent": 0.0,
        "published": None,
        "started": None,
        "ended": 0.0,
        "queue_wait_s": 0.25,
        "duration_s": 1.75,
        "worker": "web-1:77",
        "origin": "send",
        "release": "r1",
    }
    return encode_row(message_id=message_id, **usual | fields)


def histograms(conn, table):
    """Return the sums of both histograms of a table; a test may begin just before a minute ends."""
    sums = [0] * BUCKETS, [0] * BUCKETS
    query = sql.SQL("SELECT run_hist, wait_hist FROM workshed.{}").format(sql.Identifier(table))
    for found in conn.execute(query):
        for total, histogram in zip(sums, found, strict=True):
            for bucket, count in enumerate(histogram):
                total[bucket] += count
    return sums


def assert_each_is_counted_once(conn):
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        recorded = {tuple(key): count for *key, count in conn.execute(RECORDED)}
        counted = {tuple(key): count for *key, count in conn.execute(COUNTED)}
        in_all = {tuple(key): count for *key, count in conn.execute(IN_ALL)}
    assert counted == recorded
    sums = Counter()
    for (minute, _, _, _, outcome), count in recorded.items():
        sums[minute, outcome] += count
    assert in_all == sums


def test_runs_are_counted_by_actor_queue_release_and_outcome(conn, moved):
    write(conn, "a", "b")
    write(conn, "c", outcome="dead")
    write(conn, "d", actor="pay")
    write(conn, "e", queue="low")
    write(conn, "f", release="r2")
    assert_each_is_counted_once(conn)

    assert moved() == 0

    assert_each_is_counted_once(conn)
    counted = run_minutes.count_by_outcome(conn, ALWAYS)
    assert counted == {"succeeded": 5, "dead": 1}
    assert run_minutes.count_by_outcome(conn, ALWAYS, actor="greet") == {"succeeded": 4, "dead": 1}
    assert run_minutes.count_by_outcome(conn, ALWAYS, actor="pay", queue="low") == {}


def test_one_statement_may_record_runs_of_several_minutes(conn, moved, yesterday):
    conn.execute(
        """
        INSERT INTO workshed.runs (recorded_at, message_id, generation, attempt, queue, actor,
                                   outcome, reason, sent_at, ended_at, worker, origin, release)
        SELECT workshed.now() - n * interval '20 s', n, 0, 1, 'low', 'greet', 'retry', '',
               workshed.now(), workshed.now(), 'web-1:77', 'send', ''
          FROM generate_series(1, 30) AS n
        """
    )
    assert_each_is_counted_once(conn)

    moved()

    assert_each_is_counted_once(conn)
    assert conn.execute("SELECT count(*) FROM workshed.run_minutes").fetchone()[0] >= 8


@pytest.fixture
def yesterday(conn):
    """Yesterday has a partition: a test may begin just after midnight."""
    conn.execute("""
        CREATE TABLE workshed.runs_of_before PARTITION OF workshed.runs
           FOR VALUES FROM ('2001-01-01') TO (date_trunc('day', now(), 'UTC'))
    """)


def test_times_are_counted_in_buckets_of_doubling_width(conn, moved):
    times = [
        (0.0, 0.0005),
        (1e-9, 17_000.0),
        (0.0015, None),
        (0.0015, None),
        (0.003, 1e9),
        (None, None),
    ]
    for number, (run_s, wait_s) in enumerate(times):
        write(conn, f"job {number}", duration_s=run_s, queue_wait_s=wait_s)

    moved()

    for table in ("run_minutes", "run_totals"):
        assert histograms(conn, table) == ([2, 2, 1, *23 * [0]], [1, *24 * [0], 2])


def test_histograms_are_added_to_those_of_an_earlier_turn(conn, moved):
    write(conn, "a", duration_s=0.003, queue_wait_s=None)
    moved()

    write(conn, "b", duration_s=0.0005, queue_wait_s=0.0005)
    write(conn, "c", duration_s=0.003, queue_wait_s=None)
    moved()

    for table in ("run_minutes", "run_totals"):
        assert histograms(conn, table) == ([1, 0, 2, *23 * [0]], [1, *25 * [0]])
    assert_each_is_counted_once(conn)


def test_a_histogram_ends_with_its_last_bucket(conn, moved):
    """Most times are short, and rows are kept for three months."""
    write(conn, "a", duration_s=0.003, queue_wait_s=None)

    moved()

    found = conn.execute("SELECT run_hist, wait_hist FROM workshed.run_minutes").fetchall()
    assert found == [([0, 0, 1], [])]


def test_a_run_that_commits_late_is_added_to_its_minute(conn, connect, moved):
    late = connect()
    late.execute("SELECT")  # its transaction is open
    write(late, "late")
    write(conn, "a", "b")
    assert moved() == 0
    assert_each_is_counted_once(conn)

    late.commit()

    assert_each_is_counted_once(conn)
    assert moved() == 0
    assert_each_is_counted_once(conn)
    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"succeeded": 3}


def test_a_run_that_is_not_recorded_is_not_counted(conn, connect, moved):
    other = connect()
    other.execute("SELECT")
    write(other, "a")
    other.rollback()
    conn.execute("SELECT workshed.drop_runs_partitions(workshed.now() + interval '10 days')")
    with pytest.raises(psycopg.errors.CheckViolation):
        write(conn, "b")
    runs.add_partitions(conn)

    assert moved() == 0

    assert run_minutes.count_by_outcome(conn, ALWAYS) == {}


def test_a_relay_that_dies_before_its_commit_moves_nothing(conn, connect, moved):
    write(conn, "a")
    relay = connect()
    assert run_minutes.roll_up(relay, 100) == 1
    assert_each_is_counted_once(conn)

    conn.execute("SELECT pg_terminate_backend(%s, 60000)", (relay.info.backend_pid,))

    assert_each_is_counted_once(conn)
    assert moved() == 0
    assert_each_is_counted_once(conn)


def test_relays_take_turns(conn, connect):
    """Otherwise two that add to the same minutes could wait for each other."""
    write(conn, "a")
    relay = connect()
    assert run_minutes.roll_up(relay, 100) == 1  # and its transaction is open
    write(conn, "b")
    conn.execute("SET lock_timeout = '60s'")

    assert move_run_counts(conn) == POLL_S

    relay.rollback()
    assert run_minutes.roll_up(conn, 100) == 2


def test_a_relay_that_stands_still_holds_up_no_worker(conn, connect):
    write(conn, "a")
    relay = connect()
    assert run_minutes.roll_up(relay, 100) == 1  # and its transaction is open
    conn.execute("SET lock_timeout = '60s'")

    write(conn, "b")

    relay.rollback()
    assert_each_is_counted_once(conn)


def test_a_worker_that_stands_still_holds_up_no_other(conn, connect, moved):
    worker = connect()
    worker.execute("SELECT")
    write(worker, "a")  # and its transaction is open
    conn.execute("SET lock_timeout = '60s'")

    write(conn, "b")
    assert moved() == 0

    worker.commit()
    assert_each_is_counted_once(conn)


def test_a_page_reads_no_more_than_so_many_rows_that_were_not_moved(conn, moved, monkeypatch):
    monkeypatch.setattr(run_minutes, "MOST_UNMOVED", 2)
    write(conn, "a")
    write(conn, "b")
    assert not run_minutes.is_behind(conn, ALWAYS)

    write(conn, "c")

    assert run_minutes.is_behind(conn, ALWAYS)
    moved()
    assert not run_minutes.is_behind(conn, ALWAYS)


def test_many_are_moved_in_batches(conn, monkeypatch):
    monkeypatch.setattr(run_counts, "BATCH", 2)
    for number in range(5):
        write(conn, f"job {number}", actor=f"actor_{number}")

    move = RunCountMover()
    waits = [move(conn) for _ in range(3)]

    assert waits == [PAUSE_S, PAUSE_S, POLL_S]
    assert_each_is_counted_once(conn)


def test_a_batch_that_takes_too_long_is_repeated_smaller(conn, connect, monkeypatch):
    """Otherwise the duties after it would never have their turn."""
    monkeypatch.setattr(run_counts, "BATCH", 80)
    for number in range(80):
        minute = f"2001-01-01 10:{number % 60:02}Z"
        count(conn, (f"actor_{number}", "low", "dead", 1), minute=minute)
    other = connect()
    other.execute("SELECT FROM workshed.run_counts ORDER BY minute DESC LIMIT 1 FOR UPDATE")
    conn.execute("SET statement_timeout = '1s'")
    move = RunCountMover()

    waits = [move(conn) for _ in range(4)]

    assert waits == [PAUSE_S] * 4
    assert conn.execute("SELECT count(*) FROM workshed.run_counts").fetchone() == (20,)
    other.rollback()
    assert [move(conn), move(conn)] == [PAUSE_S, POLL_S]
    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"dead": 80}


def test_many_runs_of_one_kind_are_counted_in_parts(conn, moved, monkeypatch):
    monkeypatch.setattr(run_minutes, "MOST_AT_ONCE", 4)
    kinds = {RunKind("greet", "low", "dead", 1, None): 9, RunKind("pay", "low", "dead", 2, 3): 2}

    run_minutes.count_unrecorded(conn, "r1", kinds)

    [sizes] = conn.execute("SELECT array_agg(count ORDER BY count) FROM workshed.run_counts")
    assert sizes == ([1, 2, 4, 4],)
    assert moved() == 0
    assert run_minutes.count_by_outcome(conn, ALWAYS, actor="greet") == {"dead": 9}


def test_each_run_is_counted_once_while_workers_relays_and_readers_work_and_relays_die(
    database, conn, connect, eventually, monkeypatch
):
    """Their rows, their minutes and their names are the same, so that they meet."""
    monkeypatch.setattr(background, "PAUSE_S", 0.01)
    writers, windows = 4, 40
    done = threading.Event()

    def work(number):
        own = connect(autocommit=True)
        for window in range(windows):
            names = [f"{number} {window} {n}" for n in range(20)]
            write(own, *names[:12])
            write(own, *names[12:], outcome="retry", actor=f"actor_{window % 3}")
        own.close()

    def kill():
        own = connect(autocommit=True)
        query = """
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE '%DELETE FROM workshed.run_counts%'
               AND pid <> pg_backend_pid()
        """
        while not done.wait(0.05):
            own.execute(query)
        own.close()

    def read():
        """Read a number that may only grow; a count that is moved is in one place or the other."""
        own, last = connect(autocommit=True), 0
        while not done.is_set():
            found = sum(run_minutes.count_by_outcome(own, ALWAYS).values())
            assert found >= last
            last = found
        own.close()

    def relay(conn):
        move_run_counts(conn)
        return 0.0

    with (
        BackgroundTasks("one", [relay]),
        BackgroundTasks("two", [relay]),
        ThreadPoolExecutor(writers + 2) as pool,
    ):
        others = [pool.submit(kill), pool.submit(read)]
        for one in [pool.submit(work, number) for number in range(writers)]:
            one.result()
        done.set()
        for one in others:
            one.result()
        eventually(lambda: not conn.execute("SELECT FROM workshed.run_counts").fetchall())

    assert_each_is_counted_once(conn)
    assert sum(run_minutes.count_by_outcome(conn, ALWAYS).values()) == writers * windows * 20


def test_counts_stay_when_the_runs_are_dropped(conn, moved):
    write(conn, "a")
    moved()

    conn.execute("SELECT workshed.drop_runs_partitions(workshed.now() + interval '10 days')")
    runs.add_partitions(conn)

    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"succeeded": 1}


def test_a_run_that_is_erased_is_not_counted_again(conn, moved):
    """Erasure updates its row."""
    write(conn, "a")
    moved()

    conn.execute("UPDATE workshed.runs SET arguments = NULL")

    assert moved() == 0
    assert_each_is_counted_once(conn)


def test_long_names_lose_no_run(conn, moved):
    """An index refuses rows of more than a third of a page."""
    long = "".join(chr(0x10400 + secrets.randbelow(80)) for _ in range(600))

    write(conn, "a", actor=long, queue=long, release=long)

    assert moved() == 0
    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"succeeded": 1}


def test_a_flood_of_names_is_counted_under_one(conn, moved, monkeypatch):
    """The names of the minute that it has already stay."""
    monkeypatch.setattr(run_minutes, "MOST_GROUPS", 2)
    count(conn, ("greet", "low", "dead", 2), ("pay", "low", "dead", 1))
    moved()

    flood = [(f"made_up_{n}", "low", "unknown_actor", 1) for n in range(5)]
    count(conn, *flood, ("greet", "low", "dead", 1), ("pay", "low", "dead", 1))
    count(conn, ("pay", "bulk", "dead", 1))
    count(conn, ("pay", "bulk", "dead", 1), minute="2001-01-02 09:01Z")
    moved()

    found = conn.execute(
        "SELECT minute, actor, queue, outcome, count FROM workshed.run_minutes ORDER BY 1, 2, 4"
    )
    nine = datetime(2001, 1, 2, 9, tzinfo=UTC)
    assert found.fetchall() == [
        (nine, "greet", "low", "dead", 3),
        (nine, OTHER, OTHER, "dead", 1),
        (nine, OTHER, OTHER, "unknown_actor", 5),
        (nine, "pay", "low", "dead", 2),
        (nine + MINUTE, "pay", "bulk", "dead", 1),
    ]
    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"dead": 7, "unknown_actor": 5}
    assert run_minutes.has_other_names(conn, TimeRange(nine, nine + MINUTE))
    assert not run_minutes.has_other_names(conn, TimeRange(nine + MINUTE, nine + 2 * MINUTE))


def count(conn, *kinds, minute="2001-01-02 09:00Z"):
    """Count runs of one minute, as the trigger does."""
    query = "INSERT INTO workshed.run_counts VALUES (%s, %s, %s, 'r1', %s, %s, '{}', '{}')"
    for kind in kinds:
        conn.execute(query, (minute, *kind))


def test_old_minutes_are_deleted(conn, moved):
    write(conn, "old")
    moved()
    conn.execute("UPDATE workshed.run_minutes SET minute = minute - interval '91 days'")
    conn.execute("UPDATE workshed.run_totals SET minute = minute - interval '91 days'")
    write(conn, "young")
    moved()

    assert run_minutes.prune_run_minutes(conn, timedelta(days=90), 10) == 1

    assert run_minutes.count_by_outcome(conn, ALWAYS) == {"succeeded": 1}
    assert conn.execute("SELECT count(*) FROM workshed.run_minutes").fetchone() == (1,)


def test_a_relay_moves_them(database, conn, eventually):
    write(conn, "a")

    with BackgroundTasks("duties", [RunCountMover()]):
        eventually(lambda: conn.execute("SELECT FROM workshed.run_minutes").fetchall())

    assert_each_is_counted_once(conn)
