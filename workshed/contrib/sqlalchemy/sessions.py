"""Sessions on the connections of `workshed.db`."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy.orm import Session, scoped_session

from workshed import db
from workshed.contrib.sqlalchemy.lending import (
    lend_connection,
    lending_engine,
    require_connection,
    session_options,
)
from workshed.errors import OpenTransactionError

AnySession = TypeVar("AnySession", bound=Session)


@contextmanager
def job_session(make: Callable[..., AnySession] = Session) -> Generator[AnySession]:  # type: ignore[assignment]
    """Run the block with a session in the transaction of the job.

    `with job_session(SessionLocal) as session:` is to a session what `with db.transaction() as
    conn:` is to a connection. In an actor with `once=True`, what the session writes commits with
    the once key, the outcome and the sent jobs of the run, or not at all. Elsewhere the block is a
    transaction of its own, which commits at its end and is rolled back by any exception. A time
    limit may strike in the block.

    `make` is your `sessionmaker`, or a class of sessions. Its options apply, except `bind`, `binds`
    and `twophase`, because the session uses a connection of Workshed's pool, with psycopg 3 to
    `WORKSHED_DATABASE_URL`. `session.commit()` ends a savepoint and not the transaction;
    `session.rollback()` undoes what came after the last commit.

    Raises `OpenTransactionError` in any other open transaction, such as that of a step, which
    `session_on` joins, and `UnknownConnectionError` if the session would use another connection.
    """
    if db.is_in_transaction() and db.joined_connection() is None:
        raise OpenTransactionError(
            "job_session() is a transaction of its own here, and one is open: pass its session on, "
            "or write session_on(conn, …) with its connection"
        )
    with db.transaction() as conn, session_on(conn, make) as session:
        yield session


@contextmanager
def session_on(
    conn: db.Connection,
    make: Callable[..., AnySession] = Session,  # type: ignore[assignment]
) -> Generator[AnySession]:
    """Run the block with a session in the open transaction of a connection of psycopg 3.

    `with progress.transaction() as conn, session_on(conn, SessionLocal) as session:` writes with
    the session what the cursor of a step stands for. The session commits at the end of the block,
    and the transaction remains the caller's to commit. For the rest, see `job_session`.
    """
    if isinstance(make, scoped_session):
        raise TypeError("pass the `session_factory` of a scoped_session, which keeps its sessions")
    with (
        lend_connection(lending_engine(), conn) as lent,
        lent.begin(),
        make(**session_options(lent)) as session,
    ):
        with require_connection(session, lent):
            yield session
        if session.in_transaction():
            session.commit()
