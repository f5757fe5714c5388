"""Numbers are seen in order, without duplicates and gaps."""

# ruff: noqa: S311 -- random durations of commits; nothing is secret

import random
import threading
from datetime import timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation

from shop.people.user_notifications import notify_user
from workshed.contrib import notifications
from workshed.jobs import RecordMissing


def numbers(conn, user_id, after=0, limit=1_000):
    return [one.number for one in notifications.after(conn, user_id, after, limit)]


def test_notifications_are_numbered_from_one(conn, ada):
    numbers_given = [
        notifications.notify(conn, ada, "greeting", {"n": n}, key=str(n)) for n in range(3)
    ]

    assert numbers_given == [1, 2, 3]
    assert notifications.last_number(conn, ada) == 3
    assert [one.data for one in notifications.after(conn, ada, 1, 10)] == [{"n": 1}, {"n": 2}]
    assert numbers(conn, ada, after=1, limit=1) == [2]


def test_a_user_without_notifications_has_seen_all(conn, ada):
    assert notifications.last_number(conn, ada) == 0
    assert numbers(conn, ada) == []


def test_a_key_is_notified_once(conn, ada):
    first = notifications.notify(conn, ada, "greeting", {"n": 1}, key="a")

    assert notifications.notify(conn, ada, "greeting", {"n": 2}, key="a") is None
    assert (first, notifications.last_number(conn, ada)) == (1, 1)
    assert notifications.notify(conn, ada, "greeting", {}, key="b") == 2


def test_a_key_is_of_one_user(conn, people):
    one, other = people(2)

    assert notifications.notify(conn, one, "greeting", {}, key="a") == 1
    assert notifications.notify(conn, other, "greeting", {}, key="a") == 1


def test_a_rollback_leaves_no_gap(conn, ada):
    notifications.notify(conn, ada, "greeting", {}, key="a")
    conn.rollback()

    assert notifications.notify(conn, ada, "greeting", {}, key="a") == 1


def test_a_deleted_user_gets_no_notification(conn):
    with pytest.raises(RecordMissing):
        notify_user(conn, 7, "greeting", {}, key="a")


def test_a_user_cannot_be_deleted_during_a_notification(connect, ada):
    """Otherwise the notification would outlive the user: there is no foreign key to users."""
    telling, deleting = connect(), connect()
    notify_user(telling, int(ada), "greeting", {}, key="a")
    deleting.execute("SET lock_timeout = '200 ms'")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        deleting.execute("DELETE FROM shop.users")


def test_an_id_may_be_any_text_however_long(connect):
    """A channel name in PostgreSQL has at most 63 bytes."""
    ears, conn = connect(autocommit=True), connect()
    user_id = "tenant-é/" + "7" * 200
    ears.execute(f"LISTEN {notifications.channel(user_id)}")

    assert notifications.notify(conn, user_id, "greeting", {}, key="a") == 1
    conn.commit()

    (heard,) = ears.notifies(timeout=60, stop_after=1)
    assert heard.channel == notifications.channel(user_id)
    assert numbers(conn, user_id) == [1]


def test_an_event_that_could_not_be_sent_is_refused(conn, ada):
    with pytest.raises(CheckViolation):
        notifications.notify(conn, ada, "two\nlines", {}, key="a")


def test_a_later_number_waits_until_the_earlier_one_is_committed(connect, ada):
    """Numbers of a sequence would not wait: a reader that has seen 2 would miss a later 1."""
    slow, fast, reader = connect(), connect(), connect(autocommit=True)
    fast.execute("SET lock_timeout = '200 ms'")
    fast.commit()
    notifications.notify(slow, ada, "greeting", {}, key="slow")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        notifications.notify(fast, ada, "greeting", {}, key="fast")
    fast.rollback()
    assert numbers(reader, ada) == []

    slow.commit()
    assert notifications.notify(fast, ada, "greeting", {}, key="fast") == 2


def test_the_second_of_two_with_the_same_key_does_nothing(connect, ada):
    first, second = connect(), connect()
    numbers_given = []
    notifications.notify(first, ada, "greeting", {}, key="a")

    def tell_too():
        numbers_given.append(notifications.notify(second, ada, "greeting", {}, key="a"))
        second.commit()

    waiting = threading.Thread(target=tell_too)
    waiting.start()
    first.commit()
    waiting.join()

    assert numbers_given == [None]
    assert notifications.last_number(second, ada) == 1


def test_users_do_not_wait_for_each_other(connect, people):
    one, other = people(2)
    first, second = connect(), connect()
    second.execute("SET lock_timeout = '200 ms'")

    notifications.notify(first, one, "greeting", {}, key="a")

    assert notifications.notify(second, other, "greeting", {}, key="a") == 1


def test_a_reader_that_continues_after_its_last_number_misses_none(connect, ada, scale, in_threads):
    """Eight transactions at a time, slow and fast, some rolled back, while a reader follows."""
    total = scale(1_000)
    seen, reader = [], connect(autocommit=True)
    writers = [connect() for _ in range(8)]

    def write(key):
        conn = writers.pop()
        try:
            tell_slowly(conn, ada, key)
        finally:
            writers.append(conn)

    telling = threading.Thread(target=in_threads, args=(write, range(total), len(writers)))
    telling.start()
    while telling.is_alive() or len(seen) < notifications.last_number(reader, ada):
        seen += numbers(reader, ada, after=seen[-1] if seen else 0)
    telling.join()

    assert seen == list(range(1, total + 1))


def tell_slowly(conn, user_id, key):
    """Commit after a delay, at the first or a later attempt."""
    while True:
        notifications.notify(conn, user_id, "greeting", {}, key=str(key))
        conn.execute("SELECT pg_sleep(%s)", (random.uniform(0, 0.003),))
        if random.random() < 0.8:
            conn.commit()
            return
        conn.rollback()


def test_only_the_user_s_own_channel_says_so_and_only_after_the_commit(connect, people):
    one, other = people(2)
    ears, conn = connect(autocommit=True), connect()
    for user_id in (one, other):
        ears.execute(f"LISTEN {notifications.channel(user_id)}")

    notifications.notify(conn, other, "greeting", {"secret": "text"}, key="a")
    assert list(ears.notifies(timeout=0.1)) == []
    conn.commit()

    (heard,) = ears.notifies(timeout=60, stop_after=1)
    assert (heard.channel, heard.payload) == (notifications.channel(other), "1")


def test_old_notifications_are_deleted_and_their_numbers_not_reused(conn, ada):
    for key in "abc":
        notifications.notify(conn, ada, "greeting", {}, key=key)
    conn.execute("""
        UPDATE workshed_notifications.notifications
           SET created_at = workshed.now() - interval '31 days'
    """)
    notifications.notify(conn, ada, "greeting", {}, key="d")

    assert notifications.prune_notifications(conn, timedelta(days=30), 2) == 2
    assert notifications.prune_notifications(conn, timedelta(days=30), 2) == 1
    assert numbers(conn, ada) == [4]
    assert notifications.prune_notifications(conn, timedelta(0), 2) == 1
    assert notifications.notify(conn, ada, "greeting", {}, key="e") == 5


def test_rows_that_another_process_deletes_are_skipped(connect, ada):
    first, second = connect(), connect()
    notifications.notify(first, ada, "greeting", {}, key="a")
    first.commit()

    assert notifications.prune_notifications(first, timedelta(0), 10) == 1
    assert notifications.prune_notifications(second, timedelta(0), 10) == 0


def deleted_by_the_database(conn, user_id):
    conn.execute("DELETE FROM shop.users WHERE id = %s", (user_id,))


@pytest.mark.parametrize("delete", [deleted_by_the_database, notifications.delete_of])
def test_notifications_are_deleted_with_their_user(conn, people, delete):
    ada, other = people(2)
    for user_id in (ada, other):
        notifications.notify(conn, user_id, "greeting", {}, key="a")

    delete(conn, ada)

    for table in ("notifications", "inboxes"):
        query = f"SELECT user_id FROM workshed_notifications.{table}"  # noqa: S608 -- ours
        assert conn.execute(query).fetchall() == [(other,)]
