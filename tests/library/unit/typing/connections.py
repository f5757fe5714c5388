"""Connections that a job is sent on; type checkers must refuse a line marked `# E: …`."""

import sqlite3

import dramatiq
import psycopg
import sqlalchemy
from psycopg.rows import DictRow
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from workshed import db, once, schedule


def blocking(
    message: dramatiq.Message[str],
    ours: db.Connection,
    rows: psycopg.Connection[DictRow],
    session: Session,
    scoped: scoped_session[Session],
    connection: sqlalchemy.Connection,
) -> list[str]:
    """Return the message itself."""
    sent = [
        schedule.send(ours, message),
        schedule.send(rows, message),
        schedule.send(session, message),
        schedule.send(scoped, message),
        schedule.send(connection, message),
    ]
    first: bool = once(session, "charge 7")
    cancelled: str = schedule.cancel(connection, "id")
    return [*(one.message_id for one in sent), cancelled, str(first)]


async def waiting(
    message: dramatiq.Message[str],
    blocks: db.Connection,
    driver: psycopg.AsyncConnection,
    session: AsyncSession,
    connection: AsyncConnection,
) -> list[str]:
    """Return the message once awaited."""
    sent = [
        await schedule.send(driver, message),
        await schedule.send(session, message),
        await schedule.send(connection, message),
    ]
    await schedule.send(blocks, message)  # E: misc
    first: bool = await once(session, "charge 7")
    cancelled: str = await schedule.cancel(connection, "id")
    again: bool = once(session, "charge 7")  # E: assignment
    return [*(one.message_id for one in sent), cancelled, str(first or again)]


def others(
    message: dramatiq.Message[str], lite: sqlite3.Connection, engine: sqlalchemy.Engine
) -> None:
    """Connections that jobs cannot be sent on."""
    schedule.send(lite, message)  # E: call-overload
    schedule.send(lite.cursor(), message)  # E: call-overload
    schedule.send(engine, message)  # E: call-overload
    schedule.send(None, message)  # E: call-overload
