"""Actors on queues that ship with Workshed, of either kind: its relay can make these anew."""

import time

import dramatiq

from workshed import broker, db


def write(kind, number):
    time.sleep(0.02)
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="default", once=True)
def counted(number):
    """Idempotent: one row. On a quorum queue: its message is all there is of it once it is sent."""
    write("counted", number)


@dramatiq.actor(broker=broker, queue_name="emails", once=True)
def mailed(number):
    """Idempotent: one row. On a classic queue: it has a row until its outcome is settled."""
    write("mailed", number)
