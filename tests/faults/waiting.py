"""Actors that take long, fail once, or are not due for days."""

import time
from datetime import timedelta

import dramatiq

from workshed import Queue, broker, db
from workshed.jobs import context
from workshed.middleware import RetryOn

broker.add_queue(Queue("parts"))
broker.add_queue(Queue("long"))


def write(kind, number):
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s, clock_timestamp())", (kind, number))


@dramatiq.actor(broker=broker, queue_name="long", once=True)
def last(number, seconds):
    """Idempotent: one row."""
    write("last", number)
    time.sleep(seconds)


@dramatiq.actor(
    broker=broker,
    queue_name="parts",
    once=True,
    retry_on=RetryOn(OSError, attempts=2, wait=timedelta(seconds=1)),
)
def fail(number):
    """Idempotent: one row. The first run fails."""
    write("fail", number)
    if context.current_job().attempt == 1:
        raise OSError("fails on purpose")


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def remind(number):
    """Idempotent: one row."""
    write("remind", number)
