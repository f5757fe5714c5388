"""The actors of `load` with longer jobs; `LINGER` is their shortest and longest time in seconds.

Each records its start, so that wasted work can be counted. None has retries, because an
interrupted job has not failed.
"""

import os
import random
import time
from pathlib import Path

import dramatiq

from workshed import Queue, broker, db

broker.add_queue(Queue("parts", prefetch=32))
broker.add_queue(Queue("letters", kind="classic", levels=4))

SHORTEST_S, LONGEST_S = map(float, os.environ["LINGER"].split())
SLICE_S = 0.1
"""Longest single sleep, which is a call into C that nothing can interrupt."""
BEGUN = Path(os.environ["BEGUN"])


def linger(kind, number):
    """Sleep, more often shortly than long, so that a worker has both kinds of jobs at any time."""
    with BEGUN.open("a") as notes:
        notes.write(f"{kind} {number}\n")
    share = random.random()  # noqa: S311 -- a die
    until = time.monotonic() + SHORTEST_S * (LONGEST_S / SHORTEST_S) ** share
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, SLICE_S))


def write(kind, number):
    """Write the effect, one more row each time."""
    with db.transaction() as conn:
        conn.execute("INSERT INTO effects VALUES (%s, %s)", (kind, number))


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=0)
def plain(number):
    """Not idempotent: a second run writes a second row. On crash: runs again."""
    linger("plain", number)
    write("plain", number)


@dramatiq.actor(broker=broker, queue_name="parts", max_retries=0, once=True)
def once(number):
    """Idempotent: one row. On crash: runs again."""
    linger("once", number)
    write("once", number)


@dramatiq.actor(broker=broker, queue_name="letters", max_retries=0, once=True)
def mailed(number):
    """On a classic queue, which confirms before the message is on disk."""
    linger("mailed", number)
    write("mailed", number)
