"""Actors that record which messages have reached them; `load.py` declares their queues."""

import dramatiq

from workshed import broker, db
from workshed.jobs import context


def note():
    with db.transaction() as conn:
        conn.execute("INSERT INTO taken VALUES (%s)", (context.current_job().message_id,))


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=1, min_backoff=20, max_backoff=20)
def take(number, *, word=""):
    """Not idempotent: a second run writes a second row. Fails for other arguments than these."""
    note()


@dramatiq.actor(broker=broker, queue_name="letters", max_retries=1, min_backoff=20, max_backoff=20)
def take_letter(number, *, word=""):
    """Do the same as `take`."""
    note()
