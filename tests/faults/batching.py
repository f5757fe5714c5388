"""Jobs of batches: some fail, some add other jobs, and some die until they are cured."""

import random
import time
from datetime import timedelta

import dramatiq

from workshed import Batch, Queue, broker, db
from workshed.errors import PermanentError
from workshed.middleware import RetryOn

broker.add_queue(Queue("parts"))

SOON = RetryOn(OSError, attempts=50, wait=timedelta(milliseconds=50))
GROWING = 3
"""In every fourth batch, the number of the job that adds another one, which ends alone."""
BEAT_S = 0.02
"""Jobs end at multiples of this, so that the last ones of a batch end at the same time."""
ILL = 5
"""In every third batch, the number of the job that dies."""


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def step(number, place):
    """Idempotent: one row. Fails now and then; adds to its batch in its own transaction."""
    with db.transaction() as conn:
        if place == ILL and number % 3 == 0 and not conn.execute("SELECT FROM cured").rowcount:
            raise PermanentError("ill")
        if place == GROWING and number % 4 == 0:
            Batch.current().add(conn, step.message(number, -place))
        conn.execute("INSERT INTO steps VALUES (%s, %s)", (number, place))
    if random.random() < 0.05:  # noqa: S311 -- a die
        raise OSError("fails on purpose")
    time.sleep(BEAT_S - time.time() % BEAT_S)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=SOON)
def tell(number, event):
    """Idempotent: one row. It also records how far the batch's jobs had got by then."""
    with db.transaction() as conn:
        found = Batch.current().progress(conn)
        conn.execute(
            "INSERT INTO callbacks VALUES (%s, %s, %s, %s)",
            (number, event, found.pending, found.succeeded),
        )
