"""An actor whose record may not be visible yet, or never was."""

import dramatiq

from brokers import Queue, broker
from workshed import db
from workshed.jobs import RecordMissing

broker.add_queue(Queue("parts"))


@dramatiq.actor(broker=broker, queue_name="parts", once=True)
def greet(number):
    """Twice: one row. Without its record: discarded."""
    with db.transaction() as conn:
        if not conn.execute("SELECT FROM people WHERE number = %s", (number,)).rowcount:
            raise RecordMissing("person", number)
        conn.execute("INSERT INTO greeted VALUES (%s)", (number,))
