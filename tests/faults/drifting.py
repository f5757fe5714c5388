"""Actors on queues of both kinds that ship with Workshed, so that its relay can declare them."""

import time

import dramatiq

from workshed import broker, db


def write(kind, number):
    time.sleep(0.02)
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="default", once=True)
def counted(number):
    """Idempotent: one row. On a quorum queue: once sent, the job exists only as a message."""
    write("counted", number)


@dramatiq.actor(broker=broker, queue_name="emails", once=True)
def mailed(number):
    """Idempotent: one row. On a classic queue: the job has a row until its outcome is stored."""
    write("mailed", number)
