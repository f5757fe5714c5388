"""A connection to another database than the test's can neither query it nor send to it."""

import asyncio
import contextlib
import functools
from urllib.parse import urlsplit

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import pytest
import sqlalchemy
from django.db import connection as django_connection
from sqlalchemy.ext import asyncio as sqlalchemy_asyncio

from tests.django_app import django_connected
from workshed import schedule
from workshed.testing.errors import OtherDatabaseError
from workshed.testing.guard import DatabaseAddress, guard, guard_connections, parse_addresses

WRITE = "INSERT INTO orders DEFAULT VALUES"
ORDERS = "CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY)"


def of_driver(url, driver):
    return sqlalchemy.make_url(url).set(drivername=f"postgresql+{driver}")


def returned(message):
    return message


async def awaited(one):
    return await one


# Each kind is opened, and used, before the test has `jobs`. It yields a function that executes a
# statement on it and one that waits for a send.


@contextlib.contextmanager
def psycopg_sync(url):
    with contextlib.closing(psycopg.connect(url, autocommit=True)) as conn:
        yield conn, conn.execute, returned


@contextlib.contextmanager
def psycopg_async(url):
    with asyncio.Runner() as runner:
        conn = runner.run(psycopg.AsyncConnection.connect(url, autocommit=True))
        try:
            yield conn, lambda query: runner.run(conn.execute(query)), runner.run
        finally:
            runner.run(conn.close())


@contextlib.contextmanager
def psycopg2_bare(url):
    with contextlib.closing(psycopg2.connect(url)) as conn:
        conn.autocommit = True
        yield None, lambda query: conn.cursor().execute(query), returned


@contextlib.contextmanager
def asyncpg_bare(url):
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(url))
        try:
            yield None, lambda query: runner.run(conn.execute(query)), returned
        finally:
            conn.terminate()


@contextlib.contextmanager
def asyncpg_pool(url):
    async def execute(query):
        async with pool.acquire() as conn:
            await conn.execute(query)

    with asyncio.Runner() as runner:
        pool = runner.run(awaited(asyncpg.create_pool(url, min_size=1)))
        yield None, lambda query: runner.run(execute(query)), returned
        runner.run(pool.close())


@contextlib.contextmanager
def django(url):
    with django_connected(url):
        execute = lambda query: django_connection.cursor().execute(query)  # noqa: E731
        yield django_connection, execute, returned


def sqlalchemy_on(driver):
    @contextlib.contextmanager
    def opened(url):
        engine = sqlalchemy.create_engine(of_driver(url, driver), isolation_level="AUTOCOMMIT")
        with engine.connect() as conn:
            yield conn, lambda query: conn.execute(sqlalchemy.text(query)), returned
        engine.dispose()

    return opened


@contextlib.contextmanager
def sqlalchemy_on_asyncpg(url):
    engine = sqlalchemy_asyncio.create_async_engine(
        of_driver(url, "asyncpg"), isolation_level="AUTOCOMMIT"
    )
    with asyncio.Runner() as runner:
        conn = runner.run(awaited(engine.connect()))
        execute = conn.execute
        yield conn, lambda query: runner.run(execute(sqlalchemy.text(query))), runner.run
        runner.run(conn.close())
        runner.run(engine.dispose())


KINDS = {
    "psycopg": psycopg_sync,
    "psycopg, async": psycopg_async,
    "psycopg2": psycopg2_bare,
    "asyncpg": asyncpg_bare,
    "pool of asyncpg": asyncpg_pool,
    "Django": django,
    "SQLAlchemy on psycopg": sqlalchemy_on("psycopg"),
    "SQLAlchemy on psycopg2": sqlalchemy_on("psycopg2"),
    "SQLAlchemy on asyncpg": sqlalchemy_on_asyncpg,
}


@pytest.fixture
def real(database_url):
    """The URL of a database such as an application has: migrated, with a table of its own."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(ORDERS)
    return database_url


@pytest.fixture
def jobs(jobs, monkeypatch):
    """The kit as applications have it; in this suite it allows other databases."""
    monkeypatch.setattr(guard, "others", ())
    return jobs


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def opened(request, real):
    """A connection to it of each kind, used before the test began."""
    with request.param(real) as (conn, execute, wait):
        execute("SELECT 1")
        yield conn, execute, wait


@pytest.fixture
def written(real, jobs, monkeypatch):
    """`written()`: the number of rows in it."""

    def count():
        with psycopg.connect(real) as conn, monkeypatch.context() as patch:
            patch.setattr(guard, "own", ())
            query = (
                "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM workshed.schedule)"
            )
            return conn.execute(query).fetchone()[0]

    return count


def test_neither_a_query_nor_a_send_reaches_another_database(opened, greet, jobs, real, written):
    conn, execute, wait = opened
    (other,), (own,) = parse_addresses(real), parse_addresses(jobs._conn.info.dsn)

    with pytest.raises(OtherDatabaseError) as query:
        execute(WRITE)
    if conn is not None:  # `schedule.send` accepts it
        with pytest.raises(OtherDatabaseError) as send:
            wait(schedule.send(conn, greet.message(1)))
        assert (send.value.other, send.value.own) == (str(other), str(own))

    assert (query.value.other, query.value.own) == (str(other), str(own))
    assert f"leads to {other}, and the test works in {own}" in str(query.value)
    assert written() == 0


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_connection_to_the_database_of_the_test_is_allowed(kind, greet, jobs, jobs_database):
    with psycopg.connect(jobs_database, autocommit=True) as conn:
        conn.execute(ORDERS)
    try:
        with kind(jobs_database) as (conn, execute, wait):
            execute(WRITE)
            if conn is not None:
                wait(schedule.send(conn, greet.message(1)))
                jobs.assert_enqueued(greet, 1, times=1)
    finally:
        with psycopg.connect(jobs_database, autocommit=True) as conn:
            conn.execute("DROP TABLE public.orders")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_connection_that_is_opened_in_the_test_is_refused_too(kind, real, jobs, written):
    with contextlib.suppress(OtherDatabaseError), kind(real) as (_, execute, _wait):
        with pytest.raises(OtherDatabaseError):
            execute(WRITE)
        raise OtherDatabaseError("", "")

    assert written() == 0


def of_server(conn):
    with conn.cursor("named") as cursor:
        cursor.execute("SELECT 1")


READS = {
    "stream": lambda conn: list(conn.cursor().stream("SELECT 1")),
    "copy": lambda conn: conn.cursor().copy("COPY orders FROM STDIN").__enter__(),
    "executemany": lambda conn: conn.cursor().executemany("SELECT %s", [(1,)]),
    "a cursor of the server": of_server,
    "a cursor of the client": lambda conn: psycopg.ClientCursor(conn).execute("SELECT 1"),
}


@pytest.mark.parametrize("ways", READS.values(), ids=READS)
def test_no_other_way_of_psycopg_is_allowed(ways, real, jobs):
    with psycopg.connect(real) as conn, pytest.raises(OtherDatabaseError):
        ways(conn)


def test_a_server_side_cursor_of_async_psycopg_is_refused_too(real, jobs):
    async def read(conn):
        async with conn, conn.cursor("named") as cursor:
            await cursor.execute("SELECT 1")

    with asyncio.Runner() as runner:
        conn = runner.run(psycopg.AsyncConnection.connect(real))
        with pytest.raises(OtherDatabaseError):
            runner.run(read(conn))


NAMED = psycopg2.extras.RealDictCursor
CURSORS = {
    "of the connection": lambda url: psycopg2.connect(url, cursor_factory=NAMED).cursor(),
    "of the cursor": lambda url: psycopg2.connect(url).cursor(cursor_factory=NAMED),
    "of a cursor of the server": lambda url: psycopg2.connect(url).cursor("one", NAMED),
    "of a class that is made later": lambda url: psycopg2.connect(url).cursor(
        cursor_factory=type("Late", (psycopg2.extensions.cursor,), {})
    ),
    "of a class of connections": lambda url: psycopg2.connect(
        url, connection_factory=psycopg2.extras.DictConnection
    ).cursor(),
    "of a function that connects": lambda url: psycopg2.connect(
        url, connection_factory=functools.partial(psycopg2.extensions.connection)
    ).cursor(),
}


@pytest.mark.parametrize("opened", CURSORS.values(), ids=CURSORS)
def test_no_cursor_class_of_psycopg2_is_allowed(opened, real, jobs):
    with contextlib.closing(opened(real)) as cursor, pytest.raises(OtherDatabaseError):
        cursor.execute("SELECT 1")


def test_the_guard_keeps_the_cursor_class_of_psycopg2(jobs, jobs_database):
    """Rows that are requested as dicts are dicts under the guard, too."""
    dicts = psycopg2.connect(jobs_database, connection_factory=psycopg2.extras.DictConnection)
    with contextlib.closing(dicts):
        for cursor in (dicts.cursor(), dicts.cursor("of_the_server", scrollable=True)):
            cursor.execute("SELECT 1 AS a")
            assert cursor.fetchone()["a"] == 1
    with contextlib.closing(psycopg2.connect(jobs_database)) as conn:
        cursor = conn.cursor(cursor_factory=NAMED)
        cursor.execute("SELECT 1 AS a")
        assert cursor.fetchone() == {"a": 1}


PREPARED = ("fetch", "fetchrow", "fetchval")


@pytest.mark.parametrize("name", PREPARED)
def test_a_statement_that_asyncpg_prepared_before_is_refused(name, real, request):
    with asyncio.Runner() as runner:
        conn = runner.run(asyncpg.connect(real))
        statement = runner.run(conn.prepare("SELECT 1"))
        request.getfixturevalue("jobs")

        with pytest.raises(OtherDatabaseError):
            runner.run(getattr(statement, name)())

        conn.terminate()


def test_a_job_cannot_write_to_another_database_either(actor, real, jobs, written):
    @actor(max_retries=0)
    def pay():
        with psycopg.connect(real, autocommit=True) as conn:
            conn.execute(WRITE)

    with pytest.raises(OtherDatabaseError):
        jobs.perform(pay)

    assert written() == 0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (DatabaseAddress("a", "localhost", 5432), DatabaseAddress("a", "127.0.0.1", 5432), True),
        (DatabaseAddress("a", "/run/postgresql", 5432), DatabaseAddress("a", "", 5432), True),
        (DatabaseAddress("a", "db", 5432), DatabaseAddress("a", "db", 5432), True),
        (DatabaseAddress("a", "db", 5432), DatabaseAddress("b", "db", 5432), False),
        (DatabaseAddress("a", "db", 5432), DatabaseAddress("a", "db", 5433), False),
        (DatabaseAddress("a", "db", 5432), DatabaseAddress("a", "localhost", 5432), False),
    ],
)
def test_a_database_is_known_by_its_name_and_server(one, other, same):
    assert (one.key == other.key) is same


def test_the_database_of_a_test_may_have_several_hosts(database_url, conn):
    """Such as a primary and its replicas; the connection leads to one of them."""
    host = urlsplit(database_url).netloc.rpartition("@")[2]

    with guard_connections(database_url.replace(host, f"db1:5433,{host}")):
        conn.execute("SELECT 1")
    with (
        guard_connections(database_url.replace(host, "db1:5433,db2")),
        pytest.raises(OtherDatabaseError, match=r'at db1:5433 or "\w+" at db2:5432'),
    ):
        conn.execute("SELECT 1")


def test_outside_of_tests_nothing_is_refused(real):
    with psycopg.connect(real, autocommit=True) as conn:
        assert conn.execute(WRITE).rowcount == 1


PROJECT = """
    import os
    import dramatiq
    import pytest
    from workshed import broker
    from workshed.testing.errors import OtherDatabaseError

    REAL = os.environ["REAL"]

    def test_a_driver_that_is_imported_in_a_test(jobs):
        import psycopg2
        with pytest.raises(OtherDatabaseError, match="leads to"):
            psycopg2.connect(REAL).cursor().execute("INSERT INTO orders DEFAULT VALUES")

    def test_another_one(jobs):
        import asyncio, asyncpg
        async def write():
            conn = await asyncpg.connect(REAL)
            try:
                await conn.execute("INSERT INTO orders DEFAULT VALUES")
            finally:
                conn.terminate()
        with pytest.raises(OtherDatabaseError, match="leads to"):
            asyncio.run(write())
"""
BEFORE = """
    import asyncio
    import os
    import asyncpg, psycopg, psycopg2, psycopg2.extras, pytest, sqlalchemy
    from workshed.testing.errors import OtherDatabaseError

    REAL = os.environ["REAL"]
    WRITE = "INSERT INTO orders DEFAULT VALUES"
    psycopg_conn = psycopg.connect(REAL, autocommit=True)
    psycopg2_conn = psycopg2.connect(REAL)
    psycopg2_conn.autocommit = True
    loop = asyncio.new_event_loop()
    asyncpg_conn = loop.run_until_complete(asyncpg.connect(REAL))
    engine = sqlalchemy.create_engine(
        sqlalchemy.make_url(REAL).set(drivername="postgresql+psycopg2"),
        isolation_level="AUTOCOMMIT")
    sqlalchemy_conn = engine.connect()

    WAYS = {
        "psycopg": lambda: psycopg_conn.execute(WRITE),
        "psycopg2": lambda: psycopg2_conn.cursor().execute(WRITE),
        "psycopg2, a class": lambda: psycopg2_conn.cursor(
            cursor_factory=psycopg2.extras.RealDictCursor).execute(WRITE),
        "asyncpg": lambda: loop.run_until_complete(asyncpg_conn.execute(WRITE)),
        "SQLAlchemy": lambda: sqlalchemy_conn.exec_driver_sql(WRITE),
    }

    @pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
    def test_it(jobs, way):
        with pytest.raises(OtherDatabaseError, match="leads to"):
            way()

    def test_close():
        asyncpg_conn.terminate()
        loop.close()
        for one in (psycopg_conn, psycopg2_conn, sqlalchemy_conn):
            one.close()
        engine.dispose()
"""
WORKING = """
    import os
    import dramatiq
    import psycopg
    from workshed import broker

    @dramatiq.actor(broker=broker, max_retries=0)
    def pay():
        with psycopg.connect(os.environ["REAL"], autocommit=True) as conn:
            conn.execute("INSERT INTO orders DEFAULT VALUES")
"""
REAL_TEST = """
    import pytest
    from shop_jobs import pay

    @pytest.mark.jobs(mode="real")
    def test_a_worker(jobs):
        pay.send()
        with pytest.raises(Exception, match="pay died: .*leads to"):
            jobs.drain()
"""
ALLOWED = """
    import os
    import psycopg
    import pytest
    from psycopg.conninfo import conninfo_to_dict

    @pytest.fixture(scope="session")
    def jobs_other_databases():
        return [conninfo_to_dict(os.environ["REAL"])["dbname"]]
"""


@pytest.fixture
def with_real(project, real):
    project.environment["REAL"] = real
    return project


def test_a_driver_that_is_imported_in_a_test_is_watched(with_real, written):
    with_real.write("test_drivers.py", PROJECT)

    with_real.run().assert_outcomes(passed=2)

    assert written() == 0


def test_connections_that_were_opened_before_the_first_test_are_watched(with_real, written):
    """In this process the guard is active since its first test, so another process is needed."""
    with_real.write("test_before.py", BEFORE)

    with_real.run().assert_outcomes(passed=6)

    assert written() == 0


def test_the_worker_of_mode_real_is_watched(with_real, written):
    with_real.write("shop_jobs.py", WORKING)
    with_real.write("test_real.py", REAL_TEST)
    with_real.environment["PYTHONPATH"] = (
        f"{with_real.folder}:{with_real.environment['PYTHONPATH']}"
    )

    with_real.run().assert_outcomes(passed=1)

    assert written() == 0


def test_a_database_that_the_tests_name_is_allowed(with_real, written):
    with_real.write("conftest.py", ALLOWED)
    with_real.write("shop_jobs.py", WORKING)
    with_real.write(
        "test_both.py",
        """
        from shop_jobs import pay

        def test_it_may_use_both(jobs):
            jobs.perform(pay)
        """,
    )

    with_real.run("-p", "no:cacheprovider").assert_outcomes(passed=1)

    assert written() == 1


def test_without_postgresql_no_job_is_stored_elsewhere(project, real, written):
    del project.environment["WORKSHED_DATABASE_URL"]
    project.environment["REAL"] = real
    project.write(
        "test_plain.py",
        """
        import os
        import psycopg
        import pytest
        from workshed import schedule
        from workshed.testing.errors import NeedsDatabaseError
        from shop_jobs import pay

        @pytest.fixture(scope="session")
        def jobs_server():
            return RuntimeError("there is none")

        def test_it_says_so(jobs):
            with psycopg.connect(os.environ["REAL"], autocommit=True) as conn:
                with pytest.raises(NeedsDatabaseError, match="schedule.send needs PostgreSQL"):
                    schedule.send(conn, pay.message())
                with pytest.raises(NeedsDatabaseError, match="schedule.send needs PostgreSQL"):
                    schedule.send_many(conn, [pay.message()])
        """,
    )
    project.write("shop_jobs.py", WORKING)

    project.run().assert_outcomes(passed=1)

    assert written() == 0
