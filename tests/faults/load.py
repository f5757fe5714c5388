"""The actors of the campaign; each writes its effect into a table that shows repeats."""

import os
import random
import time
from datetime import timedelta
from urllib.request import urlopen

import dramatiq

from workshed import Queue, broker, db
from workshed.middleware import RetryOn

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("letters", kind="classic", levels=4))

TAKES_S = float(os.environ.get("FAULTS_TAKES_S", "0.005"))
"""The duration of each job."""
SOON = RetryOn(OSError, attempts=20, wait=timedelta(milliseconds=50))


def write(kind, number):
    """Write the effect, one more row each time."""
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts", retry_on=SOON)
def plain(number):
    """Not idempotent: a second run writes a second row. On crash: runs again."""
    time.sleep(TAKES_S)
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def once(number):
    """Idempotent: one row."""
    time.sleep(TAKES_S)
    write("once", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def retried(number):
    """Idempotent: one row. Fails half of the time, and its write is rolled back then."""
    write("retried", number)
    time.sleep(TAKES_S)
    if random.random() < 0.5:  # noqa: S311 -- a coin
        raise OSError("fails on purpose")


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def keyed(number):
    """Idempotent: one row. Sent with a unique key, so that RabbitMQ's senders hold a lease."""
    time.sleep(TAKES_S)
    write("keyed", number)


@dramatiq.actor(broker=broker, queue_name="letters", once=True, retry_on=SOON)
def mailed(number):
    """On a classic queue, which confirms before the message is on disk."""
    time.sleep(TAKES_S)
    write("mailed", number)


@dramatiq.actor(broker=broker, queue_name="parts", retry_on=SOON)
def charged(number):
    """Sends a request to an external server, which knows no key; possible repeats are counted.

    Idempotent: does not charge twice. On crash: sends it again, and `asked` counts that.
    """
    with db.transaction() as conn:
        query = """
            INSERT INTO charges VALUES (%s, 1)
                ON CONFLICT (number) DO UPDATE SET asked = charges.asked + 1
                WHERE charges.charged_at IS NULL
        """
        if not conn.execute(query, (number,)).rowcount:
            return
    time.sleep(TAKES_S)
    urlopen(f"{os.environ['FAULTS_SINK']}/{number}", b"", timeout=10).close()  # noqa: S310 -- http
    with db.transaction() as conn:
        query = "UPDATE charges SET charged_at = now() WHERE number = %s AND charged_at IS NULL"
        if conn.execute(query, (number,)).rowcount:
            conn.execute("INSERT INTO effects VALUES ('charged', %s)", (number,))


@dramatiq.actor(
    broker=broker,
    queue_name="parts",
    retry_on=RetryOn(Exception, attempts=100, wait=timedelta(milliseconds=50)),
)
def failing(number):
    """Not idempotent: writes a second row. Fails half of the time, before it writes anything."""
    if random.random() < 0.5:  # noqa: S311 -- a coin
        raise OSError("fails on purpose")
    write("failing", number)
