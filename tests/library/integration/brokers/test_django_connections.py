"""What happens to Django's connections around a job."""

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from dramatiq.middleware import SkipMessage

from tests.django_app import django_connected
from workshed.middleware import django_connections

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

DJANGO = "django of a test"
OF_DJANGO = "SELECT pid FROM pg_stat_activity WHERE application_name = %s"
CUT = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s
"""
PERSISTENT = {"CONN_MAX_AGE": None}


@pytest.fixture
def django(database):
    """`with django(CONN_MAX_AGE=None):` connections of Django that tests can find by name."""

    def opened(**options):
        names = {"application_name": DJANGO}
        return django_connected(database, **{"OPTIONS": names, "CONN_MAX_AGE": 0, **options})

    return opened


@pytest.fixture
def ask(actor):
    """A job that asks through Django which PostgreSQL process serves it."""
    pids = []

    @actor(queue_name="default", max_retries=0)
    def ask():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])

    ask.pids = pids
    return ask


def test_a_connection_that_was_cut_is_opened_again(ask, django, working, rows, eventually):
    with django(**PERSISTENT), working("default", threads=1):
        ask.send()
        eventually(lambda: len(ask.pids) == 1)
        rows(CUT, DJANGO)
        ask.send()
        eventually(lambda: len(ask.pids) == 2 or rows("SELECT FROM workshed.dead"))

    assert rows("SELECT reason FROM workshed.dead") == []
    assert len(set(ask.pids)) == 2


def test_a_persistent_connection_is_kept(ask, django, working, rows, eventually):
    with django(**PERSISTENT), working("default", threads=1):
        for _ in range(3):
            ask.send()
        eventually(lambda: len(ask.pids) == 3)

        assert rows(OF_DJANGO, DJANGO) == [(ask.pids[0],)]

    assert len(set(ask.pids)) == 1
    eventually(lambda: rows(OF_DJANGO, DJANGO) == [])  # its thread has ended


def test_by_default_the_connection_is_closed_after_each_job(ask, django, working, rows, eventually):
    with django(), working("default", threads=1):
        ask.send()
        eventually(lambda: len(ask.pids) == 1)
        eventually(lambda: rows(OF_DJANGO, DJANGO) == [])
        ask.send()
        eventually(lambda: len(ask.pids) == 2)

    assert rows("SELECT FROM workshed.dead") == []


def test_the_connection_is_closed_after_a_failure_and_a_skip_too(
    actor, django, working, rows, eventually
):
    asked = []

    @actor(queue_name="default", max_retries=0)
    def fail(error):
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        asked.append(error)
        raise {"ValueError": ValueError, "SkipMessage": SkipMessage}[error]

    with django(), working("default", threads=1):
        for error in ("ValueError", "SkipMessage"):
            fail.send(error)
            eventually(lambda error=error: error in asked)
            eventually(lambda: rows(OF_DJANGO, DJANGO) == [])


@pytest.mark.parametrize("is_persistent", [False, True])
def test_an_async_actor_has_the_connection_of_the_thread_that_waits_for_it(
    actor, django, working, rows, eventually, is_persistent
):
    pids = []

    @actor(queue_name="default", max_retries=0)
    async def ask_later():
        pids.append(await sync_to_async(ask_now)())

    @actor(queue_name="default", max_retries=0)
    def ask():
        pids.append(ask_now())

    def ask_now():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return cursor.fetchone()[0]

    with django(**(PERSISTENT if is_persistent else {})), working("default", threads=1):
        for number, each in enumerate((ask, ask_later, ask_later), 1):
            each.send()
            eventually(lambda number=number: len(pids) == number)
            eventually(lambda: len(rows(OF_DJANGO, DJANGO)) == is_persistent)

    assert rows("SELECT reason FROM workshed.dead") == []
    assert len(set(pids)) == (1 if is_persistent else 3)


def test_a_transaction_that_is_open_in_this_thread_stays(django, rows):
    """A test of the application runs its jobs inside its own transaction."""
    with django(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE of_this_transaction ()")

        django_connections.renew_connections()

        cursor.execute("SELECT FROM of_this_transaction")


def test_an_error_of_a_check_does_not_fail_the_job(ask, django, working, eventually, monkeypatch):
    def broken(_self):
        raise RuntimeError("no check today")

    with django(**PERSISTENT), working("default", threads=1):
        ask.send()
        eventually(lambda: len(ask.pids) == 1)
        monkeypatch.setattr(BaseDatabaseWrapper, "close_if_unusable_or_obsolete", broken)
        ask.send()
        eventually(lambda: len(ask.pids) == 2)
