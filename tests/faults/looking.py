"""An actor that reads its record from a replica, where it may be missing, now or for ever."""

import os
import threading

import dramatiq
import psycopg

from workshed import Queue, broker, db
from workshed.jobs import RecordMissing

broker.add_queue(Queue("parts"))
local = threading.local()


def replica():
    """Return this thread's connection to the replica, which ends some: they delay its recovery."""
    if not hasattr(local, "conn") or local.conn.closed:
        local.conn = psycopg.connect(os.environ["REPLICA_URL"], autocommit=True)
    return local.conn


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def greet(number):
    """Idempotent: one row. Without its record: discarded."""
    with db.transaction() as conn:
        if not replica().execute("SELECT FROM people WHERE number = %s", (number,)).rowcount:
            raise RecordMissing("person", number)
        conn.execute("INSERT INTO greeted VALUES (%s)", (number,))
