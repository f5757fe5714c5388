"""Workshed jobs that are stored in PostgreSQL first."""

import time

from bench.jobs import ours
from workshed import Batch, db, schedule


def stored(job: str, count: int) -> None:
    """Store each job in its own transaction, like a web request that also writes."""
    for _ in range(count):
        with db.transaction() as conn:
            schedule.send(conn, getattr(ours, job).message(time.time_ns()))


def stored_many(job: str, count: int) -> None:
    """Store all jobs in one transaction."""
    with db.transaction() as conn:
        schedule.send_many(conn, (getattr(ours, job).message(time.time_ns()) for _ in range(count)))


def batched(job: str, count: int) -> None:
    """Store all jobs as one batch."""
    batch = Batch()
    with db.transaction() as conn, batch.adding(conn):
        batch.add(conn, *(getattr(ours, job).message(time.time_ns()) for _ in range(count)))
