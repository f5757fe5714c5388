"""The jobs may be killed at any line and redelivered: each row is counted once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from actors import import_user_rows, import_users, start_import
from shop import imports, people
from workshed import db
from workshed.contrib.storage import blobs, storage
from workshed.settings import settings

pytestmark = pytest.mark.one_in(3)  # a kill at every line, each in its own process

MOST_LINES = 2_000
ROWS, CHUNK = 12, 4


@pytest.fixture
def hand_in(database, broker, tmp_path, monkeypatch):
    """`hand_in(7)`: an import of unique people; four of its twelve rows are wrong."""
    monkeypatch.setenv("WORKSHED_STORAGE_URL", f"file:{tmp_path}/contents")
    monkeypatch.setenv("SHOP_IMPORT_CHUNK", str(CHUNK))
    settings.cache_clear()
    with db.transaction() as conn:
        owner = people.create(conn, name="Grace", email="grace@example.org")

    def start(number):
        rows = [f"A{n},a{n}.{number}@example.org\n" for n in range(ROWS)]
        rows[1], rows[5] = ",x@example.org\n", f"B,A0.{number}@example.org\n"
        rows[6], rows[11] = "x;y\n", "C,grace@example.org\n"
        with storage().draft() as draft:
            draft.write("".join(["name,email\n", *rows]).encode())
            blob = blobs.keep(draft)
        with db.transaction() as conn:
            return start_import(conn, owner.id, "people.csv", blob)

    return start


def one(query, *args):
    with db.transaction() as conn:
        return conn.execute(query, args).fetchone()[0]


def sent(number):
    query = """
        SELECT array_agg((body::json #>> '{args,1}')::integer ORDER BY 1) FROM workshed.schedule
         WHERE body::json ->> 'actor_name' = 'import_user_rows'
           AND body::json #>> '{args,0}' = %s
    """
    return one(query, str(number))


def right(number):
    """Return whether each row was counted once, and the end was notified once."""
    with db.transaction() as conn:
        found = imports.get_import(conn, number)
    end = (found.state, found.total, found.succeeded, found.failed)
    users = "SELECT count(*) FROM shop.users WHERE imported_from = %s"
    notification_count = (
        "SELECT count(*) FROM workshed_notifications.notifications WHERE data ->> 'import_id' = %s"
    )
    return (*end, one(users, number), one(notification_count, str(number))) == (
        "completed",
        ROWS,
        8,
        4,
        8,
        1,
    )


@pytest.mark.timeout(3600)
def test_reading_is_killed_at_any_line(hand_in, killed, scale, lane):
    """At full scale it is killed at each line, otherwise at a few."""
    step = lane(sample=60, exhaustive=31 - scale(30))
    for line in range(1, MOST_LINES, step):
        number = hand_in(line)

        ended = killed(line, "import_users", number)
        import_users.fn(number)

        assert sent(number) == [1, 5, 9]
        for first in (1, 5, 9):
            import_user_rows.fn(number, first, CHUNK)
        assert right(number)
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 50


def test_work_is_killed_at_any_line(hand_in, killed, scale, lane):
    step = lane(sample=60, exhaustive=31 - scale(30))
    for line in range(1, MOST_LINES, step):
        number = hand_in(line)
        import_users.fn(number)
        for first in (1, 5):
            import_user_rows.fn(number, first, CHUNK)

        ended = killed(line, "import_user_rows", number, 9, CHUNK)
        import_user_rows.fn(number, 9, CHUNK)

        assert right(number)
        if ended:
            break
    else:
        pytest.fail("it never came to its end")
    assert line > 20


def test_copies_that_run_at_once_store_and_send_all_once(hand_in, monkeypatch):
    monkeypatch.setattr(imports.reader, "BATCH", 1)
    for turn in range(5):
        number = hand_in(turn)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(import_users.fn, [number] * 6))
            assert sent(number) == [1, 5, 9]
            firsts = [first for first in (1, 5, 9) for _ in range(3)]
            list(threads.map(import_user_rows.fn, [number] * 9, firsts, [CHUNK] * 9))

        assert right(number)
