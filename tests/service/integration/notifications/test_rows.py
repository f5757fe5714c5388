"""Numbers that are seen in their order, none twice and none left out."""

# ruff: noqa: S311 -- chance decides how long a commit takes; nothing is secret

import random
import threading
from datetime import timedelta

import psycopg
import pytest
from psycopg.errors import CheckViolation

from shop.people.notifying import notify
from workshed.contrib import notifications
from workshed.jobs import RecordMissing


def numbers(conn, user_id, after=0, limit=1_000):
    return [one.number for one in notifications.after(conn, user_id, after, limit)]


def test_what_is_told_is_numbered_from_one(conn, ada):
    told = [notifications.tell(conn, ada, "greeting", {"n": n}, key=str(n)) for n in range(3)]

    assert told == [1, 2, 3]
    assert notifications.last(conn, ada) == 3
    assert [one.data for one in notifications.after(conn, ada, 1, 10)] == [{"n": 1}, {"n": 2}]
    assert numbers(conn, ada, after=1, limit=1) == [2]


def test_who_was_told_nothing_has_seen_all(conn, ada):
    assert notifications.last(conn, ada) == 0
    assert numbers(conn, ada) == []


def test_the_same_key_is_told_once(conn, ada):
    first = notifications.tell(conn, ada, "greeting", {"n": 1}, key="a")

    assert notifications.tell(conn, ada, "greeting", {"n": 2}, key="a") is None
    assert (first, notifications.last(conn, ada)) == (1, 1)
    assert notifications.tell(conn, ada, "greeting", {}, key="b") == 2


def test_a_key_is_of_one_user(conn, people):
    one, other = people(2)

    assert notifications.tell(conn, one, "greeting", {}, key="a") == 1
    assert notifications.tell(conn, other, "greeting", {}, key="a") == 1


def test_what_is_rolled_back_leaves_no_gap(conn, ada):
    notifications.tell(conn, ada, "greeting", {}, key="a")
    conn.rollback()

    assert notifications.tell(conn, ada, "greeting", {}, key="a") == 1


def test_somebody_who_is_gone_is_told_nothing(conn):
    with pytest.raises(RecordMissing):
        notify(conn, 7, "greeting", {}, key="a")


def test_nobody_deletes_a_user_who_is_being_told_something(connect, ada):
    """Else the notification would outlive them: no foreign key leads to the users."""
    telling, deleting = connect(), connect()
    notify(telling, int(ada), "greeting", {}, key="a")
    deleting.execute("SET lock_timeout = '200 ms'")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        deleting.execute("DELETE FROM shop.users")


def test_an_id_may_be_any_text_however_long(connect):
    """A channel of PostgreSQL has at most 63 bytes."""
    ears, conn = connect(autocommit=True), connect()
    somebody = "tenant-é/" + "7" * 200
    ears.execute(f"LISTEN {notifications.channel(somebody)}")

    assert notifications.tell(conn, somebody, "greeting", {}, key="a") == 1
    conn.commit()

    (heard,) = ears.notifies(timeout=60, stop_after=1)
    assert heard.channel == notifications.channel(somebody)
    assert numbers(conn, somebody) == [1]


def test_an_event_that_could_not_be_sent_is_refused(conn, ada):
    with pytest.raises(CheckViolation):
        notifications.tell(conn, ada, "two\nlines", {}, key="a")


def test_a_later_number_waits_until_the_earlier_one_is_committed(connect, ada):
    """Numbers of a sequence would not: who has seen 2 goes on after it, and 1 comes too late."""
    slow, fast, reader = connect(), connect(), connect(autocommit=True)
    fast.execute("SET lock_timeout = '200 ms'")
    fast.commit()
    notifications.tell(slow, ada, "greeting", {}, key="slow")

    with pytest.raises(psycopg.errors.LockNotAvailable):
        notifications.tell(fast, ada, "greeting", {}, key="fast")
    fast.rollback()
    assert numbers(reader, ada) == []

    slow.commit()
    assert notifications.tell(fast, ada, "greeting", {}, key="fast") == 2


def test_the_second_of_two_that_tell_the_same_finds_it_told(connect, ada):
    first, second = connect(), connect()
    told = []
    notifications.tell(first, ada, "greeting", {}, key="a")

    def tell_too():
        told.append(notifications.tell(second, ada, "greeting", {}, key="a"))
        second.commit()

    waiting = threading.Thread(target=tell_too)
    waiting.start()
    first.commit()
    waiting.join()

    assert told == [None]
    assert notifications.last(second, ada) == 1


def test_users_do_not_wait_for_each_other(connect, people):
    one, other = people(2)
    first, second = connect(), connect()
    second.execute("SET lock_timeout = '200 ms'")

    notifications.tell(first, one, "greeting", {}, key="a")

    assert notifications.tell(second, other, "greeting", {}, key="a") == 1


def test_who_goes_on_after_the_last_it_saw_misses_none(connect, ada, scale, in_threads):
    """Eight transactions at a time, slow and fast, some rolled back, while one reads."""
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
    while telling.is_alive() or len(seen) < notifications.last(reader, ada):
        seen += numbers(reader, ada, after=seen[-1] if seen else 0)
    telling.join()

    assert seen == list(range(1, total + 1))


def tell_slowly(conn, user_id, key):
    """Commit after a moment, at the first or a later attempt."""
    while True:
        notifications.tell(conn, user_id, "greeting", {}, key=str(key))
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

    notifications.tell(conn, other, "greeting", {"secret": "text"}, key="a")
    assert list(ears.notifies(timeout=0.1)) == []
    conn.commit()

    (heard,) = ears.notifies(timeout=60, stop_after=1)
    assert (heard.channel, heard.payload) == (notifications.channel(other), "1")


def test_what_is_old_is_deleted_and_its_numbers_are_not_given_again(conn, ada):
    for key in "abc":
        notifications.tell(conn, ada, "greeting", {}, key=key)
    conn.execute("""
        UPDATE workshed_notifications.notifications
           SET created_at = workshed.now() - interval '31 days'
    """)
    notifications.tell(conn, ada, "greeting", {}, key="d")

    assert notifications.prune_notifications(conn, timedelta(days=30), 2) == 2
    assert notifications.prune_notifications(conn, timedelta(days=30), 2) == 1
    assert numbers(conn, ada) == [4]
    assert notifications.prune_notifications(conn, timedelta(0), 2) == 1
    assert notifications.tell(conn, ada, "greeting", {}, key="e") == 5


def test_what_another_deletes_is_passed_over(connect, ada):
    first, second = connect(), connect()
    notifications.tell(first, ada, "greeting", {}, key="a")
    first.commit()

    assert notifications.prune_notifications(first, timedelta(0), 10) == 1
    assert notifications.prune_notifications(second, timedelta(0), 10) == 0


def deleted_by_the_database(conn, user_id):
    conn.execute("DELETE FROM shop.users WHERE id = %s", (user_id,))


@pytest.mark.parametrize("delete", [deleted_by_the_database, notifications.delete_of])
def test_what_a_user_was_told_goes_with_them(conn, people, delete):
    ada, other = people(2)
    for user_id in (ada, other):
        notifications.tell(conn, user_id, "greeting", {}, key="a")

    delete(conn, ada)

    for table in ("notifications", "inboxes"):
        query = f"SELECT user_id FROM workshed_notifications.{table}"  # noqa: S608 -- ours
        assert conn.execute(query).fetchall() == [(other,)]
