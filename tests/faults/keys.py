"""A unique actor that detects whether another job of its key runs, and senders that die.

`python keys.py FIRST KEYS THREADS` sends every key from the first on, in each thread, and may be
killed at any time. It records each send after that has returned, or in the send's transaction.
"""

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import dramatiq
import psycopg

from workshed import Queue, broker, db, schedule
from workshed.middleware import RetryOn, Unique

broker.add_queue(Queue("parts"))


@dramatiq.actor(
    broker=broker,
    queue_name="parts",
    unique=Unique(key=["key"]),
    retry_on=RetryOn(OSError, attempts=30, wait=timedelta(milliseconds=20)),
)
def build(key, me):
    """Not idempotent: a second run writes a second row. Fails one time in four."""
    with db.transaction() as conn:
        try:
            with conn.transaction():
                conn.execute("INSERT INTO runs VALUES (%s, %s)", (key, me))
        except psycopg.errors.UniqueViolation:
            conn.execute("INSERT INTO together VALUES (%s, %s)", (key, me))
            return
    time.sleep(0.01)
    fails = random.random() < 0.25  # noqa: S311 -- a coin
    with db.transaction() as conn:
        conn.execute("DELETE FROM runs WHERE key = %s", (key,))
        if not fails:
            conn.execute("INSERT INTO done VALUES (%s, %s)", (key, me))
    if fails:
        raise OSError("fails on purpose")


def note(conn, message_id, fate):
    conn.execute("INSERT INTO sends VALUES (%s, %s)", (message_id, fate))


def send_one(key):
    """Send in a random way; what is rolled back does not count as sent."""
    me = str(uuid4())
    message = build.message(key, me).copy(message_id=me)
    way = random.choice(["send", "send", "later", "commit", "roll back"])  # noqa: S311 -- a die
    match way:
        case "send" | "later":
            sent = broker.enqueue(message, delay=50 if way == "later" else None)
            with db.transaction() as conn:
                note(conn, sent.message_id, "sent")
        case "commit":
            with db.transaction() as conn:
                note(conn, schedule.send(conn, message).message_id, "sent")
        case _:
            with db.transaction() as conn:
                schedule.send(conn, message)
                conn.rollback()
                note(conn, me, "rolled back")


def main(first, keys, threads):
    def work(_):
        for key in range(first, keys):
            send_one(key)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
