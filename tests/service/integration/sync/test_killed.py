"""The jobs may be killed at any line and redelivered: each change is written and logged once."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from actors import sync_critical_data, sync_record
from shop import sync
from workshed import db
from workshed.jobs import Snooze

pytestmark = pytest.mark.one_in(3)  # a kill at every line, each in its own process

MOST_LINES = 1_000
STAYING = "abcde"


@pytest.fixture
def source(database, broker, api):
    """A source with two pages, one of whose records will be deleted."""
    with db.transaction() as conn:
        sync.add(conn, "crm", api.origin)
    return api


@pytest.fixture
def version(source, rows):
    """`version(7)`: set a new version of all records, and add one that will be deleted."""

    def change(number):
        for name in STAYING:
            source.put(name, number, associations=[("owner", name), ("turn", str(number))])
        source.put(f"x{number}", number)
        sync_record.fn("crm", f"x{number}")
        del source.records[f"x{number}"]
        with db.transaction() as conn:
            conn.execute("TRUNCATE workshed.schedule, workshed.unique_locks")

    return change


@pytest.fixture
def logged(rows):
    """`logged(7)`: (id, change) of each log line about a version."""

    def read(number):
        query = """
            SELECT external_id, change FROM shop.sync_log WHERE version = %s
             ORDER BY external_id, id
        """
        return rows(query, number)

    return read


@pytest.fixture
def sent(rows):
    """`sent()`: the records that have a waiting job."""

    def read():
        query = """
            SELECT body::json #>> '{args,1}' FROM workshed.schedule WHERE actor = 'sync_record'
             ORDER BY 1
        """
        return [name for (name,) in rows(query)]

    return read


@pytest.fixture
def step(scale, lane):
    """The step between lines: 1 at full scale, larger otherwise, and largest in a sample."""
    return lane(sample=120, exhaustive=61 - scale(60))


@pytest.mark.timeout(3600)
def test_a_listing_is_killed_at_any_line(source, version, killed, sent, logged, kept, state, step):
    for line in range(1, MOST_LINES, step):
        version(line)

        ended = killed(line, "sync_critical_data", "crm")
        sync_critical_data.fn("crm")

        assert sent() == [*STAYING, f"x{line}"]
        assert state().listing_since is None
        assert state().failed_runs == 0
        for name in sent():
            sync_record.fn("crm", name)
        assert kept() == dict.fromkeys(STAYING, line)
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 50


@pytest.mark.timeout(3600)
def test_a_deletion_is_killed_at_any_line(source, version, killed, logged, step):
    for line in range(1, MOST_LINES, step):
        version(line)
        sync_critical_data.fn("crm")

        ended = killed(line, "sync_record", "crm", f"x{line}")
        sync_record.fn("crm", f"x{line}")
        sync_record.fn("crm", f"x{line}")

        assert logged(line) == [(f"x{line}", "created"), (f"x{line}", "deleted")]
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 30


def test_a_record_is_killed_at_any_line(source, version, killed, logged, kept, rows, step):
    for line in range(1, MOST_LINES, step):
        version(line)

        ended = killed(line, "sync_record", "crm", "a")
        sync_record.fn("crm", "a")
        sync_record.fn("crm", "a")

        change = "created" if line == 1 else "updated"
        assert logged(line)[0] == ("a", change)
        assert [name for name, _ in logged(line)] == ["a", f"x{line}"]
        assert kept()["a"] == line
        query = "SELECT kind, other_id FROM shop.sync_associations WHERE external_id = 'a'"
        assert sorted(rows(query)) == [("owner", "a"), ("turn", str(line))]
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 30


def read_all(_):
    """Run as one of several copies, of which only one continues."""
    with contextlib.suppress(Snooze):
        sync_critical_data.fn("crm")


def test_copies_that_run_at_once_write_all_once(source, version, sent, logged, kept):
    for turn in range(1, 6):
        version(turn)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(read_all, range(6)))
            wanted = [*STAYING, f"x{turn}"]
            assert sent() == wanted
            list(threads.map(sync_record.fn, ["crm"] * 18, wanted * 3))

        assert kept() == dict.fromkeys(STAYING, turn)
        assert [name for name, _ in logged(turn)] == [*wanted, f"x{turn}"]
