"""Actors with `once=True` that write by psycopg, by SQLAlchemy and by Django's ORM."""

import asyncio
import os
import time
from datetime import timedelta

import django

django.setup()

from django.db import models  # noqa: E402 -- as in a Django application, settings come first
from sqlalchemy import orm  # noqa: E402 -- likewise
from sqlalchemy.ext.asyncio import async_sessionmaker  # noqa: E402

from workshed import Queue, actor, broker, db  # noqa: E402
from workshed.contrib.sqlalchemy import async_job_session, job_session  # noqa: E402
from workshed.middleware import RetryOn  # noqa: E402

broker.add_queue(Queue("parts"))

WORKS_S = float(os.environ.get("FAULTS_TAKES_S", "0.05"))
"""How long a job works on after it has written."""
AGAIN = RetryOn(Exception, attempts=500, wait=timedelta(milliseconds=100))


class Base(orm.DeclarativeBase):
    """The models of SQLAlchemy."""


class Row(Base):
    """The effect of a job, for SQLAlchemy."""

    __tablename__ = "effects"

    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    kind: orm.Mapped[str]
    number: orm.Mapped[int]


class Effect(models.Model):
    """The effect of a job, for Django."""

    kind = models.TextField()
    number = models.IntegerField()

    class Meta:
        """The test creates the table."""

        app_label = "shop"
        db_table = "effects"

    def __str__(self):
        """Return its name."""
        return f"{self.kind} {self.number}"


SESSIONS = orm.sessionmaker()
ASYNC_SESSIONS = async_sessionmaker()


@actor(queue="parts", once=True, retry_on=AGAIN)
def write_by_psycopg(number: int) -> None:
    """Idempotent: one row. On crash: no row, and it runs again."""
    with db.transaction() as conn:
        query = "INSERT INTO effects (kind, number) VALUES ('write_by_psycopg', %s)"
        conn.execute(query, (number,))
    time.sleep(WORKS_S)


@actor(queue="parts", once=True, retry_on=AGAIN)
def write_by_session(number: int) -> None:
    """Idempotent: one row. On crash: no row, and it runs again."""
    with job_session(SESSIONS) as session:
        session.add(Row(kind="write_by_session", number=number))
    time.sleep(WORKS_S)


@actor(queue="parts", once=True, retry_on=AGAIN)
async def write_by_async_session(number: int) -> None:
    """Idempotent: one row. On crash: no row, and it runs again."""
    async with async_job_session(ASYNC_SESSIONS) as session:
        session.add(Row(kind="write_by_async_session", number=number))
    await asyncio.sleep(WORKS_S)


@actor(queue="parts", once=True, retry_on=AGAIN)
def write_by_django(number: int) -> None:
    """Idempotent: one row. On crash: no row, and it runs again."""
    Effect.objects.create(kind="write_by_django", number=number)
    time.sleep(WORKS_S)
