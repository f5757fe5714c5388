"""A replica of PostgreSQL takes the place of its primary, while jobs and requests write by ORMs."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import orm
from sqlalchemy.exc import DBAPIError

from tests.conftest import in_memory, migrate_all
from tests.faults.experiment import Remedy, experiment
from tests.faults.failover import replicated
from tests.faults.test_writing import ledger, long_jobs, start_one
from workshed import db, schedule
from workshed.devserver import DevServers
from workshed.devserver.postgres import DATABASE, PostgreSQLServer
from workshed.settings import Settings

__all__ = ["ledger", "long_jobs", "start_one"]

SENDERS = 4
TAKES_S = 0.05
"""How long a request takes between its send and its commit."""
REFUSALS = 40
"""How many statements of workers a fenced primary refuses before it is stopped."""
READ_ONLY = "in a read-only transaction"
ORDERS = "SELECT number FROM orders"
ORM_WRITERS = ("write_by_session", "write_by_django")


@pytest.fixture
def servers_of_jobs(eventually):
    """A primary with the tables of Workshed, and its replica."""
    own = DevServers(fresh=True, kinds=("postgres",), given=Settings())
    with in_memory(own) as started:
        with db.Connection.connect(started.database_url, autocommit=True) as conn:
            migrate_all(conn)
        with replicated(started.postgres, eventually) as pair:
            yield pair


@pytest.fixture
def database_url(servers_of_jobs):
    return servers_of_jobs.url(DATABASE)


class Base(orm.DeclarativeBase):
    """The models of the application that sends."""


class PlacedOrder(Base):
    """A row that commits with the job that was sent for it."""

    __tablename__ = "orders"

    number: orm.Mapped[int] = orm.mapped_column(primary_key=True)


class Requests:
    """Requests that store an order and send its job in the transaction of a session."""

    def __init__(self, url, message):
        self.committed = set()
        """Numbers of the orders whose commit was confirmed."""
        self.failed = 0
        self._message = message
        self._connect = partial(psycopg.connect, url, connect_timeout=5)
        self._engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=self._connect, pool_pre_ping=True
        )
        self._numbers = iter(range(1_000_000))
        self._over = threading.Event()

    def __enter__(self):
        Base.metadata.create_all(self._engine)
        self._pool = ThreadPoolExecutor(SENDERS)
        self._senders = [self._pool.submit(self._send_all) for _ in range(SENDERS)]
        return self

    def __exit__(self, *_):
        self._over.set()
        self._pool.shutdown()
        self._engine.dispose()
        for sender in self._senders:
            sender.result()

    def stored(self):
        """Return the numbers of all orders, also of those whose commit was in doubt."""
        with self._connect() as conn:
            return {number for (number,) in conn.execute(ORDERS)}

    def _send_all(self):
        while not self._over.is_set():
            try:
                self._send(next(self._numbers))
            except DBAPIError:
                self.failed += 1
                self._over.wait(TAKES_S)

    def _send(self, number):
        with orm.Session(self._engine) as session, session.begin():
            session.add(PlacedOrder(number=number))
            schedule.send(session, self._message(number))
            time.sleep(TAKES_S)
        self.committed.add(number)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("long_jobs")
@experiment(
    "writing-failover",
    number=21,
    fails_by="lost",
    fault="the primary of PostgreSQL is made read-only and stopped, and its synchronous replica "
    "is promoted; the same with a primary that ends as in a crash; both twice",
    load="4 000 requests or more that send in the transaction of a SQLAlchemy session; jobs with "
    "`once=True` that write with such a session or with Django's ORM",
    remedy=Remedy(
        "workshed/database/pool.py",
        "    psycopg.errors.ReadOnlySqlTransaction,\n",
        "",
    ),
)
def test_a_replica_takes_the_place_of_the_primary(
    ledger, two_workers, servers_of_jobs, database_url, drained, judged, eventually, scale
):
    """All that was committed runs once, on the server that is the primary by then."""
    ledger.kinds = ORM_WRITERS

    def refusals():
        return sum(worker.text().count(READ_ONLY) for worker in two_workers)

    def switch_over():
        before = refusals()
        servers_of_jobs.fence()
        eventually(lambda: refusals() >= before + REFUSALS)
        servers_of_jobs.fail_over(PostgreSQLServer.stop)

    def crash():
        servers_of_jobs.fail_over(PostgreSQLServer.stop_at_once)

    failovers = (switch_over, crash) * scale(2, by=2)
    share = scale(4_000) // (len(failovers) + 1)
    with Requests(database_url, ledger.message) as requests:
        for fail_over in (*failovers, None):
            enough = len(requests.committed) + share
            eventually(lambda: len(requests.committed) >= enough, within_s=240)  # noqa: B023
            if fail_over:
                fail_over()
                servers_of_jobs.rejoin()

    for number in (orders := requests.stored()):
        ledger.note(ledger.message(number))
    result = drained(within_s=240)
    result.lost += len(requests.committed - orders)
    result.notes = {
        "failovers": len(failovers),
        "requests that committed": len(orders),
        "commits in doubt that were made": len(orders - requests.committed),
        "requests that failed": requests.failed,
        "statements refused": refusals(),
    }
    judged(result)
