"""Actors whose jobs hold a resource until they end, under a middleware that skips some jobs."""

from datetime import timedelta

import dramatiq
from unreliable import Gate

from workshed import Queue, broker, db
from workshed.middleware import Limit, RetryOn

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("letters", kind="classic", levels=4))
broker.add_middleware(Gate())

SOON = RetryOn(OSError, attempts=20, wait=timedelta(milliseconds=50))


def write(kind, number):
    """Write the effect, one more row each time."""
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def keyed(number):
    """Has a unique key."""
    write("keyed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, limit=Limit.concurrent(3))
def limited(number):
    """Holds a slot."""
    write("limited", number)


@dramatiq.actor(broker=broker, queue_name="letters", once=True, retry_on=SOON)
def mailed(number):
    """Is on a classic queue, so it has a row until its outcome is stored."""
    write("mailed", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def part(number):
    """Is in a batch, or in a group."""
    write("part", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def follow(number):
    """Follows a batch, or a group."""
    write("follow", number)
