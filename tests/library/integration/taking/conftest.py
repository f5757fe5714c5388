"""Workers of this process that take their jobs from PostgreSQL."""

import contextlib
import threading

import pytest

from workshed.transport.relay.keeper import Keeper
from workshed.transport.relay.relay import list_duties


@pytest.fixture
def transport():
    """Jobs are rows."""
    return "postgresql"


@pytest.fixture
def rows(connect):
    """`rows("SELECT …")`: the rows of the database, read now."""
    conn = connect(autocommit=True)
    return lambda query, *values: conn.execute(query, values).fetchall()


@pytest.fixture
def keeping(broker):
    """`with keeping():` a keeper runs in a thread."""

    @contextlib.contextmanager
    def run():
        stop = threading.Event()
        keeper = Keeper(stop, broker.declared_queues.values(), list_duties())
        thread = threading.Thread(target=keeper.run)
        thread.start()
        try:
            yield keeper
        finally:
            stop.set()
            thread.join(60)

    return run


@pytest.fixture
def scheduled(rows):
    """Return how many rows the schedule has."""
    return lambda: rows("SELECT count(*) FROM workshed.schedule")[0][0]
