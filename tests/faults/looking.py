"""An actor whose record may not be visible yet, or never was; it is read from a replica."""

import os
import threading

import dramatiq
import psycopg

from workshed import Queue, broker, db
from workshed.jobs import RecordMissing

broker.add_queue(Queue("parts"))
local = threading.local()


def replica():
    """Return this thread's connection to it."""
    if not hasattr(local, "conn"):
        local.conn = psycopg.connect(os.environ["REPLICA_URL"], autocommit=True)
    return local.conn


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def greet(number):
    """Idempotent: one row. Without its record: discarded."""
    with db.transaction() as conn:
        if not replica().execute("SELECT FROM people WHERE number = %s", (number,)).rowcount:
            raise RecordMissing("person", number)
        conn.execute("INSERT INTO greeted VALUES (%s)", (number,))
