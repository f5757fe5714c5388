"""docs/from-dramatiq.md: its application runs before and after, and its jobs move and run once."""

import re
import sys
from collections import Counter

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from tests import pages, transcripts
from tests.databases import sibling
from tests.management import management

PAGE = "docs/from-dramatiq.md"
SESSION = pages.block(PAGE, "adopt")
TABLE_OF_ORDERS = pages.block(PAGE, "table")
FILES = {**pages.files(PAGE, "before"), **pages.files(PAGE, "after")}
URL = "amqp://guest:guest@localhost/old"
PLACE = re.compile(r"(localhost|127\.0\.0\.1):\d+ \(virtual host '\w+'\)")
HERE = """
import dramatiq

from workshed import broker, db


@dramatiq.actor
def greet(name):
    with db.transaction() as conn:
        conn.execute("INSERT INTO greeted VALUES (%s)", (name,))
"""
"""The actor in the new release; only its module's imports differ."""
TABLE = "CREATE TABLE public.greeted (name text)"


@pytest.fixture
def url(servers, managed):
    """Where dramatiq's queues are: a virtual host of their own."""
    return sibling(servers.broker_url, managed(management(servers)).vhost)


@pytest.fixture
def stock(url, eventually):
    """dramatiq's broker, after its worker has failed to run two jobs."""
    broker = RabbitmqBroker(url=url, confirm_delivery=True)
    runs = []

    @dramatiq.actor(broker=broker, max_retries=0)
    def greet(name):
        runs.append(name)
        raise OSError("away")

    worker = dramatiq.Worker(broker, worker_timeout=100, worker_threads=2)
    worker.start()
    send(broker, "Ada", max_retries=1, min_backoff=600_000, max_backoff=600_000)
    greet.send("Bob")
    eventually(lambda: sorted(runs) == ["Ada", "Bob"])
    eventually(lambda: broker.get_queue_message_counts("default")[1:] == (0, 1))
    worker.stop()
    yield broker
    broker.close()


def send(stock, name, *, delay=None, **options):
    stock.enqueue(Message("default", "greet", (name,), {}, options), delay=delay)


def test_the_application_before_and_after(shop, url, start_worker, eventually):
    shop.env["BROKER_URL"] = url
    shop.write(FILES)
    shop.execute(TABLE_OF_ORDERS)
    stock = (sys.executable, "-m", "dramatiq", "shop_tasks", "-p", "1", "-t", "2")

    shop.place_before_and_after(stock, start_worker, eventually)


def test_the_steps_of_the_page(
    stock, url, run, environment, start_worker, connect, eventually, tmp_path
):
    conn = connect(autocommit=True)
    conn.execute(TABLE)
    (tmp_path / "greetings.py").write_text(HERE)
    send(stock, "Cy")
    send(stock, "Di", delay=3_000)

    [(command, shown)] = transcripts.steps(SESSION)
    words = command.replace(URL, url).split()[1:]
    code, said = run("-m", "workshed", *words, **environment)
    assert code == 0, said
    transcripts.check(shown, said, {PLACE: "PLACE"})

    conn.execute("UPDATE workshed.schedule SET due_at = now()")
    start_worker("greetings")
    names = lambda: Counter(name for (name,) in conn.execute("SELECT name FROM greeted"))  # noqa: E731
    eventually(lambda: len(names()) == 3)
    assert names() == Counter(["Ada", "Cy", "Di"])
    [(dead,)] = conn.execute("SELECT message_id FROM workshed.dead")
    code, said = run("-m", "workshed", "dead", "retry", dead, **environment)
    assert code == 0, said
    eventually(lambda: names() == Counter(["Ada", "Bob", "Cy", "Di"]))
