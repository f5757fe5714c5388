"""An application's engine, whose address leads to a replica and then to the primary."""

import asyncio

import pytest
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from tests.faults.standby import standby
from workshed.contrib.sqlalchemy import watch_engine

INSERT = sqlalchemy.text("INSERT INTO public.orders DEFAULT VALUES")
PID = sqlalchemy.text("SELECT pg_backend_pid()")
DRIVERS = ["psycopg", "psycopg2", "asyncpg"]
OPTIONS = {"pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}


@pytest.fixture(scope="module")
def replica(servers):
    with standby(servers.postgres, 0) as replica:
        yield replica


@pytest.fixture
def address(servers, replica, connect):
    """The port behind the address: that of the replica, until the test sets `[0]`."""
    conn = connect(autocommit=True)
    conn.execute("CREATE TABLE public.orders (id bigint GENERATED ALWAYS AS IDENTITY)")
    yield [replica.ports["postgres"], servers.postgres.ports["postgres"]]
    conn.execute("DROP TABLE public.orders")


@pytest.fixture
def wait_for_replica(replica, database_url, address, eventually):
    """Wait until the replica has the table."""
    url = sqlalchemy.make_url(database_url).set(drivername="postgresql+psycopg", port=address[0])
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    def has_table():
        try:
            return sqlalchemy.inspect(engine).has_table("orders", schema="public")
        except DBAPIError:  # not even the database, yet
            return False

    eventually(has_table)


def create(database_url, driver, address=None):
    """Create an engine; return it, a function that inserts an order, and one that closes it."""
    url = sqlalchemy.make_url(database_url).set(drivername=f"postgresql+{driver}")
    is_async = driver == "asyncpg"
    engine = (create_async_engine if is_async else sqlalchemy.create_engine)(url, **OPTIONS)

    def connect(_dialect, _record, _words, options):
        options["port"] = address[0]

    if address:
        event.listen(engine.sync_engine if is_async else engine, "do_connect", connect)

    async def insert():
        if is_async:
            async with engine.begin() as conn:
                await conn.execute(INSERT)
        else:
            with engine.begin() as conn:
                conn.execute(INSERT)

    async def dispose():
        await engine.dispose() if is_async else engine.dispose()

    return engine, insert, dispose


@pytest.mark.usefixtures("wait_for_replica")
@pytest.mark.parametrize("driver", DRIVERS)
def test_an_engine_leaves_a_server_that_is_read_only(driver, database_url, address):
    """Without `watch_engine`, it would keep the connection, which answers each ping."""
    engine, insert, dispose = create(database_url, driver, address)
    watch_engine(engine)

    async def fail_over():
        with pytest.raises(DBAPIError, match="read-only") as err:
            await insert()
        assert err.value.connection_invalidated
        address[0] = address[1]
        await insert()
        await dispose()

    asyncio.run(fail_over())


@pytest.mark.usefixtures("wait_for_replica")
def test_without_it_each_write_fails(database_url, address):
    _, insert, dispose = create(database_url, "psycopg", address)

    async def fail_over():
        for _ in range(2):
            with pytest.raises(DBAPIError, match="read-only"):
                await insert()
            address[0] = address[1]
        await dispose()

    asyncio.run(fail_over())


@pytest.mark.usefixtures("wait_for_replica")
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_url_of_two_servers_leads_to_the_one_that_writes(driver, database_url, address, rows):
    """As docs/transactions.md has it, with the replica first."""
    url = sqlalchemy.make_url(database_url)
    both = [f"{url.host}:{port}" for port in address]
    query = {"host": both, "target_session_attrs": "read-write"}
    url = url.set(host=None, port=None).update_query_dict(query)
    _, insert, dispose = create(url, driver)

    async def write():
        await insert()
        await dispose()

    asyncio.run(write())

    assert rows("SELECT count(*) FROM public.orders") == [(1,)]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_restart_between_two_transactions_is_not_noticed(driver, database_url, servers):
    """That is what `pool_pre_ping` is for."""
    engine, _, dispose = create(database_url, driver)
    watch_engine(engine)

    async def read():
        if driver == "asyncpg":
            async with engine.connect() as conn:
                return await conn.scalar(PID)
        with engine.connect() as conn:
            return conn.scalar(PID)

    async def restart():
        before = await read()
        # In this thread: the server would end with another one.
        servers.postgres.restart()
        assert await read() != before
        await dispose()

    asyncio.run(restart())


def test_a_transaction_that_is_read_only_on_purpose_drops_nothing(database_url, address):
    address[0] = address[1]
    engine, _, dispose = create(database_url, "psycopg", address)
    watch_engine(engine)
    with engine.connect() as conn:
        before = conn.scalar(PID)

    with (
        engine.connect().execution_options(postgresql_readonly=True) as conn,
        pytest.raises(DBAPIError, match="read-only"),
    ):
        conn.execute(INSERT)

    with engine.connect() as conn:
        assert conn.scalar(PID) == before
    asyncio.run(dispose())
