"""A background thread with a connection of its own."""

import pytest

from workshed.threads.connected import ConnectedThread

LONG_S = 600.0


@pytest.fixture
def started(database):
    """`started(work, every_s)`: a thread that the test ends."""
    threads = []

    def started(*args, **options):
        threads.append(ConnectedThread("test", *args, **options))
        threads[-1].start()
        return threads[-1]

    yield started
    for thread in threads:
        thread.stop(60)
        assert not thread.is_running


def test_all_rounds_and_the_last_one_use_one_connection(started, eventually):
    prepared, rounds = [], []

    def work(conn):
        rounds.append(conn.info.backend_pid)
        return LONG_S if len(rounds) == 3 else 0.0

    thread = started(
        work,
        0.0,
        on_connect=lambda conn: prepared.append(conn.info.backend_pid),
        is_work_left=lambda: len(rounds) < 4,
    )
    eventually(lambda: len(rounds) == 3)

    thread.stop(60)

    assert len(prepared) == 1
    assert rounds == prepared * 4


def test_it_replaces_a_lost_connection_and_logs_one_line(started, connect, eventually, caplog):
    prepared, rounds = [], []

    def work(conn):
        conn.execute("SELECT 1")
        rounds.append(conn.info.backend_pid)

    thread = started(work, 0.01, on_connect=lambda conn: prepared.append(conn.info.backend_pid))
    first = eventually(lambda: rounds)[0]
    with connect(autocommit=True) as conn:
        conn.execute("SELECT pg_terminate_backend(%s)", (first,))

    eventually(lambda: rounds[-1] != first)

    assert prepared == [first, rounds[-1]]
    assert thread.failures == 0
    [record] = caplog.records
    assert record.getMessage().startswith("test: ")
    assert "trying again in 0.0" in record.getMessage()
    assert record.exc_info is None


def test_any_other_error_is_logged_with_its_traceback(started, eventually, caplog):
    rounds = []

    def work(conn):
        rounds.append(conn.info.backend_pid)
        if len(rounds) == 1:
            raise ValueError("not today")

    started(work, 0.01)

    eventually(lambda: len(rounds) > 3)
    [record] = caplog.records
    assert record.getMessage().startswith("test: failed; trying again")
    assert "ValueError: not today" in caplog.text
