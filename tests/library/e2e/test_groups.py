"""Groups of tenants, each with a virtual host and a database: they share nothing."""

import psycopg
import pytest

from workshed import Queue

ACTORS = """
import dramatiq

from workshed import Queue, Unique, broker, db

broker.add_queue(Queue("parts"))


@dramatiq.actor(broker=broker, queue_name="parts", once=True, unique=Unique())
def bill(number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO bills VALUES (%s)", (number,))
"""
STORED_ELSEWHERE = """
import sys

import psycopg

from workshed import schedule
from parts import bill

with psycopg.connect(sys.argv[1]) as conn:
    schedule.send(conn, bill.message(2))
"""


@pytest.fixture
def bills(broker, database, tmp_path):
    """The actor above; `bills(url)`: the numbers that were billed in a database."""
    (tmp_path / "parts.py").write_text(ACTORS)
    broker.add_queue(Queue("parts"))

    def found(url):
        with psycopg.connect(url) as conn:
            conn.execute("CREATE TABLE IF NOT EXISTS bills (number int)")
            return [number for (number,) in conn.execute("SELECT number FROM bills ORDER BY 1")]

    yield found
    del broker.declared_queues["parts"]


@pytest.fixture
def second(rabbitmq, vhost, empty_database_url):
    """The environment variables of the processes of a second group."""
    rabbitmq.ask("PUT", f"vhosts/{rabbitmq.vhost}_two", {})
    yield {
        "WORKSHED_BROKER_URL": f"{vhost}_two",
        "WORKSHED_DATABASE_URL": empty_database_url,
    }
    rabbitmq.ask("DELETE", f"vhosts/{rabbitmq.vhost}_two")


def test_groups_with_a_virtual_host_and_a_database_each_share_nothing(
    bills, database, second, start_worker, environment, run_apart, tmp_path, eventually
):
    """Keys, jobs and workers belong to one group; a stored job to the group of its database."""

    def python(*words, **group):
        done = run_apart(*words, **environment, **group)
        assert done.returncode == 0, done.stderr

    one, two = database, second["WORKSHED_DATABASE_URL"]
    python("-m", "workshed", "migrate", **second)
    assert bills(one) == bills(two) == []
    start_worker("parts", env=second)
    for group in ({}, second):  # the same key, which is free in each
        python("-m", "workshed", "enqueue", "bill", "1", "--import", "parts", **group)
    (tmp_path / "store.py").write_text(STORED_ELSEWHERE)

    python("store.py", two)

    eventually(lambda: bills(two) == [1, 2])
    assert bills(one) == []
    start_worker("parts")
    eventually(lambda: bills(one) == [1])
    assert bills(two) == [1, 2]
