"""Jobs with `once=True` that write through Django's ORM: what they write happens once."""

import asyncio
import contextlib
import functools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.apps import apps
from django.contrib.postgres import signals
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.models import Func, Value
from django.db.transaction import TransactionManagementError
from psycopg import InterfaceError, sql
from psycopg.conninfo import conninfo_to_dict

from tests.django_app import django_connected
from workshed import db, schedule
from workshed.contrib.django.transactions import Lender, TransactionFinder
from workshed.errors import OpenTransactionError
from workshed.jobs import step
from workshed.middleware import RetryOn
from workshed.testing.fake_broker import FakeBroker

ON_BOTH = True
"""With RabbitMQ, and with PostgreSQL alone."""

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@functools.cache
def book_model():
    """Return the model; a class of models can be made only once Django is set up."""

    class Book(models.Model):  # noqa: DJ008 -- no text of it is shown
        number = models.IntegerField(unique=True)
        details = models.JSONField(default=dict)
        bought_at = models.DateTimeField(default=NOON)

        class Meta:
            app_label = "library"
            db_table = "books"
            managed = False

    return Book


@contextlib.contextmanager
def undone():
    """A block of the application that fails, and is handled by the application."""
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        yield
        raise ZeroDivisionError


@pytest.fixture
def book(database, connect, monkeypatch):
    """The model of a table that exists, with Django's connection lent by Workshed in jobs."""
    connect(autocommit=True).execute(
        "CREATE TABLE books (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "
        "number integer UNIQUE, details jsonb, bought_at timestamptz)"
    )
    monkeypatch.setattr(db, "_lenders", {"django": Lender()})
    with django_connected(database):
        yield book_model()


@pytest.fixture
def numbers(connect):
    """`numbers()`: the numbers of the stored books."""
    conn = connect(autocommit=True)
    return lambda: [n for (n,) in conn.execute("SELECT number FROM books ORDER BY 1")]


@pytest.fixture
def log(actor):
    """An actor on a queue that the test's worker does not consume."""
    return actor(queue_name="low", actor_name="log")(lambda number: None)


@pytest.fixture
def buy(actor, log, book):
    """An actor that stores a book once, sends a job, and then calls `buy.then`."""

    @actor(
        queue_name="default", once=True, retry_on=RetryOn(OSError, attempts=2), min_backoff=60_000
    )
    def buy(number):
        book.objects.create(number=number, details={"of": [number, "ä"]})
        log.send(number)
        buy.then(number)

    buy.then = lambda number: None
    return buy


@pytest.fixture
def run(working, counted, eventually):
    """`run(actor, *numbers)`: run jobs until each has ended with an outcome."""

    def run(actor, *numbers, outcome="succeeded"):
        labels = {"actor": actor.actor_name, "queue": "default", "outcome": outcome}
        before = counted("jobs_total", **labels)
        with working("default", threads=1):
            for number in numbers:
                actor.send(number)
            eventually(lambda: counted("jobs_total", **labels) >= before + len(numbers))

    return run


def test_copies_of_a_job_write_once(buy, numbers, publish_twice, rows, counted):
    publish_twice(buy.message(1), numbers)

    assert numbers() == [1]
    assert rows("SELECT scope FROM workshed.once_keys") == [("buy",)]
    assert rows("SELECT details FROM books") == [({"of": [1, "ä"]},)]
    assert counted("once_unused_total", actor="buy") == 0


def test_a_run_that_fails_after_the_write_leaves_nothing(buy, numbers, run, rows):
    """A connection of Django's own would have committed."""

    def fail(number):
        raise OSError("no")

    buy.then = fail
    run(buy, 1, outcome="retry")

    assert numbers() == rows("SELECT 1 FROM workshed.once_keys") == []
    assert rows("SELECT actor FROM workshed.schedule WHERE actor = 'log'") == []


def test_the_block_of_a_step_is_not_that_of_the_orm(actor, book, numbers, run, rows):
    """So the page leads to `progress.save` in `atomic()`."""

    def import_books(progress):
        with progress.transaction():
            book.objects.create(number=1)
            progress.cursor = 1
            raise OSError("no")

    @actor(queue_name="default", max_retries=0)
    def import_all(number):
        step("books", import_books)

    run(import_all, 1, outcome="dead")

    assert numbers() == [1]
    assert rows("SELECT cursor FROM workshed.steps") == [(None,)]


@pytest.fixture
def assert_commits_with_the_outcome(run, numbers, rows):
    """Assert what a job leaves that fails for 13 after its writes, and what it writes for 1."""

    def check(actor, written):
        run(actor, 13, outcome="dead")
        assert numbers() == rows("SELECT 1 FROM workshed.once_keys") == []

        run(actor, 1)
        assert numbers() == written
        assert rows("SELECT scope FROM workshed.once_keys") == [(actor.actor_name,)]

    return check


def test_an_async_job_writes_in_its_thread(actor, book, numbers, assert_commits_with_the_outcome):
    """What two functions write commits together, and an error in one of them undoes only that."""

    def write(number):
        with transaction.atomic():
            book.objects.create(number=number)
            if number == 2:
                raise ZeroDivisionError

    @actor(queue_name="default", once=True, max_retries=0)
    async def buy_async(number):
        await db.run_in_job_thread(write, 1)
        with pytest.raises(ZeroDivisionError):
            await db.run_in_job_thread(write, 2)
        await db.run_in_job_thread(write, 3)
        assert await asyncio.to_thread(numbers) == []
        if number == 13:
            raise OSError("no")

    assert_commits_with_the_outcome(buy_async, [1, 3])


def test_the_asynchronous_orm_writes_in_the_transaction_of_the_job(
    actor, book, numbers, assert_commits_with_the_outcome, counted
):
    """On a connection of another thread it would have committed at once, and twice for two runs."""

    @actor(queue_name="default", once=True, max_retries=0)
    async def buy_async(number):
        await book.objects.acreate(number=1)
        with pytest.raises(IntegrityError):
            await sync_to_async(create_in_block)(book, 1)
        await asyncio.gather(*(book.objects.acreate(number=each) for each in (2, 3)))
        assert [each.number async for each in book.objects.order_by("number")] == [1, 2, 3]
        assert await asyncio.to_thread(numbers) == []
        if number == 13:
            raise OSError("no")

    assert_commits_with_the_outcome(buy_async, [1, 2, 3])
    assert counted("once_unused_total", actor="buy_async") == 0


def create_in_block(book, number):
    with transaction.atomic():
        book.objects.create(number=number)


def in_job_thread(function):
    return functools.partial(db.run_in_job_thread, function)


def test_a_time_limit_interrupts_a_query_of_the_asynchronous_orm(actor, book, run, rows, numbers):
    @actor(queue_name="default", once=True, max_retries=0, time_limit=1_000)
    async def wait(number):
        await book.objects.acreate(number=number)
        await book.objects.annotate(slept=Func(Value(600.0), function="pg_sleep")).afirst()

    run(wait, 1, outcome="dead")

    assert rows("SELECT error_class FROM workshed.dead") == [("TimeLimitExceeded",)]
    assert numbers() == []


def test_a_task_that_goes_on_after_its_job_cannot_write_by_the_asynchronous_orm(
    actor, book, numbers, working, rows, eventually
):
    refused, ended = [], threading.Event()

    @actor(queue_name="default", once=True, max_retries=0)
    async def leave(number):
        async def write_later():
            await asyncio.to_thread(ended.wait, 60)
            try:
                await book.objects.acreate(number=2)
            except OpenTransactionError as err:
                refused.append(err)

        await book.objects.acreate(number=number)
        leave.task = asyncio.create_task(write_later())

    with working("default", threads=1):
        leave.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.once_keys"))
        ended.set()
        eventually(lambda: refused)

    assert numbers() == [1]


@pytest.mark.parametrize("move", [sync_to_async, in_job_thread])
def test_code_for_which_the_thread_of_a_job_waits_can_use_that_thread(
    move, actor, log, book, numbers, run, rows
):
    """As an asynchronous receiver of a signal does; each waited for the other."""

    @actor(queue_name="default", actor_name="receive", once=True, max_retries=0)
    async def receive(number):
        async def received():
            await book.objects.acreate(number=2)
            await db.run_in_job_thread(book.objects.create, number=3)
            log.send(4)
            await log.broker.send_async(log.message(5))

        def create():
            book.objects.create(number=number)
            async_to_sync(received)()

        await move(create)()

    run(receive, 1)

    assert numbers() == [1, 2, 3]
    assert rows("SELECT scope FROM workshed.once_keys") == [("receive",)]
    assert rows("SELECT actor FROM workshed.schedule") == [("log",)] * 2


def test_a_timeout_that_cancels_what_the_thread_waits_for_does_not_end_the_job(
    actor, book, numbers, run
):
    @actor(queue_name="default", actor_name="impatient", once=True, max_retries=0)
    async def impatient(number):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await sync_to_async(async_to_sync(asyncio.sleep))(60)
        await book.objects.acreate(number=number)

    run(impatient, 1)

    assert numbers() == [1]


def test_async_code_of_another_job_does_not_run_on_the_event_loop_of_async_jobs(
    actor, book, working, eventually
):
    threads = []

    @actor(queue_name="default", actor_name="on_loop", max_retries=0)
    async def on_loop():
        await book.objects.acount()
        threads.append(threading.get_ident())

    @actor(queue_name="default", actor_name="blocking", max_retries=0)
    def blocking():
        async def current_thread():
            return threading.get_ident()

        threads.append(async_to_sync(current_thread)())

    with working("default", threads=1):
        for number, each in enumerate((on_loop, blocking), 1):
            each.send()
            eventually(lambda number=number: len(threads) == number)

    assert threads[0] != threads[1]


def test_nothing_is_committed_before_the_job_ends(buy, numbers, run):
    seen = []
    buy.then = lambda number: seen.append(numbers())

    run(buy, 1)

    assert seen == [[]]
    assert numbers() == [1]


def test_blocks_of_the_job_are_savepoints(buy, book, numbers, run):
    def then(number):
        with pytest.raises(IntegrityError), transaction.atomic():
            book.objects.create(number=number)
        with transaction.atomic(), db.transaction() as conn:
            conn.execute("INSERT INTO books (number) VALUES (10)")
            with undone():
                book.objects.create(number=11)
        book.objects.create(number=12)

    buy.then = then
    run(buy, 1)

    assert numbers() == [1, 10, 12]


def test_a_failed_block_without_a_savepoint_rolls_the_job_back(buy, numbers, run, rows):
    def then(number):
        with pytest.raises(ZeroDivisionError), transaction.atomic(savepoint=False):
            raise ZeroDivisionError

    buy.then = then
    run(buy, 1, outcome="retry")

    assert numbers() == []
    [(error,)] = rows("SELECT error_class FROM workshed.attempts")
    assert error == TransactionManagementError.__name__


def test_a_job_that_closes_its_connection_is_rolled_back(buy, numbers, run):
    buy.then = lambda number: connection.close()

    run(buy, 1, outcome="retry")
    assert numbers() == []

    buy.then = lambda number: None
    run(buy, 2)
    assert numbers() == [2]


def test_a_job_that_connects_again_is_rolled_back(buy, numbers, run):
    def then(number):
        connection.connect()
        connection.cursor().execute("SELECT 1")

    buy.then = then
    run(buy, 1, outcome="retry")

    assert numbers() == []


def test_an_error_that_was_caught_outside_of_a_block_fails_the_job(buy, book, numbers, run):
    def then(number):
        with contextlib.suppress(IntegrityError):
            book.objects.create(number=number)

    buy.then = then
    run(buy, 1, outcome="retry")

    assert numbers() == []


def test_a_commit_in_the_job_is_refused(buy, numbers, run):
    def then(number):
        for end in (connection.connection.commit, connection.connection.rollback):
            with pytest.raises(TransactionManagementError, match="a job with once=True"):
                end()

    buy.then = then
    run(buy, 1)

    assert numbers() == [1]


def test_what_the_job_keeps_of_its_connection_cannot_be_used_later(buy, run):
    """It may be that of another job then."""
    kept = []
    buy.then = lambda number: kept.extend((connection.connection, connection.connection.cursor()))

    run(buy, 1)

    lent, cursor = kept
    assert lent.closed
    for use in (
        lambda: lent.execute("SELECT 1"),
        lambda: cursor.execute("SELECT 1"),
        lent.cursor,
    ):
        with pytest.raises(InterfaceError, match="has ended"):
            use()


def test_a_job_in_the_transaction_of_a_test_is_part_of_that(buy, book, numbers, run, working):
    lender = Lender()
    test = transaction.atomic()
    test._from_testcase = True
    with contextlib.suppress(ZeroDivisionError), test:
        with db.transaction() as conn, lender(db.JoinedTransaction(conn)):
            book.objects.create(number=1)
        raise ZeroDivisionError

    assert numbers() == []


def test_django_on_another_database_is_refused(buy, book, numbers, run, connect, rows):
    connections["default"].settings_dict["NAME"] = "postgres"

    run(buy, 1, outcome="retry")

    assert numbers() == []
    assert rows("SELECT error_class FROM workshed.attempts") == [("ImproperlyConfigured",)]


def test_a_connection_that_a_job_leaves_in_a_transaction_is_dropped(
    actor, book, numbers, working, eventually
):
    """A time limit that strikes while `atomic` begins or ends can do that."""

    @actor(queue_name="default", max_retries=0)
    def leave(number):
        transaction.atomic().__enter__()
        book.objects.create(number=number)

    @actor(queue_name="default", max_retries=0)
    def store(number):
        book.objects.create(number=number)

    with working("default", threads=1):
        leave.send(1)
        store.send(2)
        eventually(lambda: numbers() == [2])


def test_types_of_extensions_are_known(buy, run, rows, connect, monkeypatch):
    """Django registers them for each connection that it opens."""
    found = []
    monkeypatch.setattr(apps, "is_installed", lambda name: name == "django.contrib.postgres")
    monkeypatch.setattr(signals, "register_type_handlers", found.append)

    run(buy, 1)

    assert [each.connection.closed for each in found] == [True]


def test_a_durable_block_is_refused(buy, numbers, run):
    """It promises to commit at its end, which the job does later."""
    raised = []

    def then(number):
        with (
            pytest.raises(RuntimeError, match="durable") as found,
            transaction.atomic(durable=True),
        ):
            pass
        raised.append(str(found.value))

    buy.then = then
    run(buy, 1)

    assert len(raised) == 1


def test_functions_of_on_commit_run_after_the_commit(buy, book, numbers, run, caplog):
    seen = []

    def then(number):
        transaction.on_commit(lambda: 1 / 0)
        transaction.on_commit(lambda: seen.append((numbers(), connection.in_atomic_block)))
        with undone():
            transaction.on_commit(lambda: seen.append("undone"))

    buy.then = then
    run(buy, 1)

    assert seen == [([1], False)]
    assert "failed after the commit" in caplog.text


def test_functions_of_on_commit_do_not_run_after_a_rollback(buy, run):
    seen = []

    def then(number):
        transaction.on_commit(lambda: seen.append(number))
        raise OSError("no")

    buy.then = then
    run(buy, 1, outcome="retry")

    assert seen == []


@pytest.mark.fresh_database
@pytest.mark.parametrize("first", ["get", "iterator"])
def test_values_are_those_of_django(first, database, book, buy, actor, run, connect):
    """Its cursors convert times and JSON in their own way, whatever the server's time zone is."""
    found = []

    @actor(queue_name="default", once=True)
    def read(number):
        read = {
            "get": lambda: book.objects.get(number=number).bought_at,
            "iterator": lambda: next(book.objects.values_list("bought_at", flat=True).iterator()),
        }
        found.extend(read[which]() for which in sorted(read, key=lambda each: each != first))
        found.append(book.objects.get(number=number).details)
        with db.transaction() as conn:
            found.append(conn.execute("SELECT details, bought_at FROM books").fetchone())

    run(buy, 1)
    name = sql.Identifier(conninfo_to_dict(database)["dbname"])
    query = sql.SQL("ALTER DATABASE {} SET TimeZone = 'Asia/Tokyo'").format(name)
    connect(autocommit=True).execute(query)
    db.close_pool()
    run(read, 1)

    details = {"of": [1, "ä"]}
    assert found == [NOON, NOON, details, (details, NOON)]
    with db.transaction() as conn:
        assert conn.info.parameter_status("TimeZone") == "Asia/Tokyo"


def test_a_time_limit_interrupts_a_query(actor, book, working, rows, eventually):
    """On a connection of Django's own, the query would continue until its end."""
    pids = []

    @actor(queue_name="default", time_limit=1_000, max_retries=0, once=True)
    def wait(number):
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pids.append(cursor.fetchone()[0])
            cursor.execute("SELECT pg_sleep(60)")

    began = time.monotonic()
    with working("default"):
        wait.send(1)
        eventually(lambda: rows("SELECT 1 FROM workshed.dead"))
        assert time.monotonic() - began < 30
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
        eventually(lambda: not rows(query, pids[0]))


def test_the_server_ends_a_query_of_a_process_that_is_gone(actor, book, run):
    """The limit is set again after a block that undoes it."""
    limits = []

    def show():
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            limits.append(cursor.fetchone()[0])

    @actor(queue_name="default", time_limit=60_000, once=True)
    def wait(number):
        with contextlib.suppress(ZeroDivisionError), db.transaction():
            show()
            raise ZeroDivisionError
        show()
        with undone():
            show()
        show()

    run(wait, 1)

    assert len(limits) == 4
    assert {limit.endswith(("ms", "s", "min")) for limit in limits} == {True}


def test_the_connection_goes_where_one_of_psycopg_goes(buy, run, log, rows):
    buy.then = lambda number: schedule.send(
        connection.connection, log.message(7), delay=timedelta(1)
    )

    run(buy, 1)

    assert rows("SELECT count(*) FROM workshed.schedule WHERE due_at > now() + '1 hour'") == [(1,)]


def test_other_threads_keep_connections_of_their_own(buy, book, numbers, run):
    def then(number):
        def write():
            book.objects.create(number=100)
            connection.close()

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(30)
        raise OSError("no")

    buy.then = then
    run(buy, 1, outcome="retry")

    assert numbers() == [100]


def test_other_jobs_use_connections_of_django(actor, book, numbers, run):
    @actor(queue_name="default", max_retries=0)
    def buy_again(number):
        book.objects.create(number=number)
        raise OSError("no")

    run(buy_again, 1, outcome="dead")

    assert numbers() == [1]


def test_a_pool_of_django_keeps_its_connections(database, buy, numbers, run):
    with django_connected(database, OPTIONS={"pool": True}, CONN_MAX_AGE=0):
        buy.then = lambda number: connection.close()
        run(buy, 1, outcome="retry")
        buy.then = lambda number: None
        run(buy, 2)

    assert numbers() == [2]


# --- sends in transactions of the application ---


@pytest.fixture
def joining(broker, monkeypatch):
    monkeypatch.setattr(broker, "find_transaction", TransactionFinder())
    return broker


def test_a_send_in_a_transaction_commits_with_it(joining, log, book, rows):
    with transaction.atomic():
        book.objects.create(number=1)
        sent = log.send(1)
        joining.enqueue_many([log.message(2), log.message(3)])
        log.send_with_options(args=(4,), delay=60_000)
        assert rows("SELECT 1 FROM workshed.schedule") == []

        joining.enqueue_at(log.message(5), datetime.now(UTC) + timedelta(days=1))
        assert rows("SELECT 1 FROM workshed.schedule") == []

    stored = rows("SELECT message_id, body::json->'args'->>0 FROM workshed.schedule ORDER BY 2")
    assert [number for _, number in stored] == ["1", "2", "3", "4", "5"]
    assert stored[0][0] == sent.message_id


def test_a_send_in_a_transaction_that_fails_is_undone(joining, log, book, rows):
    with undone():
        log.send(1)
        joining.enqueue_many([log.message(2)])
    with transaction.atomic():
        log.send(3)
        with undone():
            log.send(4)

    assert rows("SELECT body::json->'args'->>0 FROM workshed.schedule") == [("3",)]


@pytest.mark.rabbitmq("a send that stores no row")
def test_a_send_outside_of_transactions_goes_to_rabbitmq(joining, log, book, rows):
    log.send(1)

    assert rows("SELECT 1 FROM workshed.schedule") == []
    assert joining.get_queue_message_counts("low").ready == 1


def test_a_send_in_a_job_with_once_joins_the_job(joining, buy, run, rows):
    buy.then = lambda number: None

    run(buy, 1)

    assert rows("SELECT actor FROM workshed.schedule") == [("log",)]


def test_another_database_is_not_joined(joining, log, book):
    joining.find_transaction = TransactionFinder("lite")

    with undone():
        log.send(1)

    assert joining.get_queue_message_counts("low").ready == 1


def test_the_test_kit_joins_as_production_does(joining, log, book, rows):
    kit = FakeBroker(joining)

    with undone():
        kit.enqueue(log.message(1))
        kit.enqueue_many([log.message(2)])
    with transaction.atomic():
        kit.enqueue(log.message(3))

    assert rows("SELECT body::json->'args'->>0 FROM workshed.schedule") == [("3",)]
