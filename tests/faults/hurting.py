"""Actors whose transactions conflict, and are ended by PostgreSQL."""

import random
import time
from datetime import timedelta

import dramatiq
import psycopg

from workshed import Queue, broker, db
from workshed.jobs import once
from workshed.middleware import RetryOn

broker.add_queue(Queue("parts"))

ACCOUNTS = 2
IDLE_S = 0.3
"""The time after which PostgreSQL ends an idle transaction."""
AGAIN = RetryOn(psycopg.Error, attempts=500, wait=timedelta(milliseconds=100))


def write(conn, kind, number):
    conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=AGAIN)
def cross(number):
    """Idempotent: one row. Locks rows in any order, so some jobs deadlock."""
    with db.transaction() as conn:
        for account in random.sample(range(ACCOUNTS), ACCOUNTS):
            conn.execute("UPDATE accounts SET moved = moved + 1 WHERE id = %s", (account,))
            time.sleep(0.05)
        write(conn, "cross", number)


@dramatiq.actor(broker=broker, queue_name="parts", retry_on=AGAIN)
def count(number):
    """Idempotent: one row. Reads what others write, so some jobs cannot be serialized."""
    with db.separate_transaction() as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        if once(conn, str(number)):
            conn.execute("SELECT sum(moved) FROM accounts")
            time.sleep(0.01)
            account = random.randrange(ACCOUNTS)  # noqa: S311 -- a die
            conn.execute("UPDATE accounts SET moved = moved + 1 WHERE id = %s", (account,))
            write(conn, "count", number)


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=AGAIN)
def linger(number):
    """Idempotent: one row. Idles in its transaction for a while, sometimes for too long."""
    with db.transaction() as conn:
        write(conn, "linger", number)
        time.sleep(random.uniform(0, 1.5 * IDLE_S))  # noqa: S311 -- a die


@dramatiq.actor(broker=broker, queue_name="parts", once=True, retry_on=AGAIN)
def write_one(number):
    """Idempotent: one row."""
    with db.transaction() as conn:
        write(conn, "write_one", number)
