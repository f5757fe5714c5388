"""Sessions of SQLAlchemy's asyncio on the connections of `workshed.db`."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_scoped_session

from workshed import db
from workshed.contrib.sqlalchemy.async_lending import async_lending_engine, lend_async_connection
from workshed.contrib.sqlalchemy.lending import require_connection, session_options
from workshed.database.job_thread import JobThread, ThreadBlock, current_job_thread, own_thread
from workshed.errors import OpenTransactionError

AnyAsyncSession = TypeVar("AnyAsyncSession", bound=AsyncSession)


@asynccontextmanager
async def async_job_session(
    make: Callable[..., AnyAsyncSession] = AsyncSession,  # type: ignore[assignment]
) -> AsyncGenerator[AnyAsyncSession]:
    """Run the block with an `AsyncSession` in the transaction of the job.

    `async with async_job_session(SessionLocal) as session:` is `job_session` for async actors: with
    `once=True`, what the session writes commits with the outcome of the job. Elsewhere the block is
    a transaction of its own. `make` is your `async_sessionmaker`, or a class of sessions.

    The session uses a connection of Workshed's pool, with psycopg 3, also if your engine uses
    asyncpg. Its queries run in a thread, and the event loop goes on: in that which waits for the
    job, or, if another of these blocks is open there, in one of its own. A time limit or the
    cancellation of the task ends a query; the block cannot continue afterwards.

    Raises `OpenTransactionError` in any other open transaction, in an actor with `once=True` while
    another of these blocks is open, and in one that is not async; and `UnknownConnectionError` if
    the session would use another connection.
    """
    if isinstance(make, async_scoped_session):
        raise TypeError(
            "pass the `session_factory` of an async_scoped_session, which keeps its sessions"
        )
    job = current_job_thread()
    _require_place(job)
    if job is None or job.blocks:  # in one thread, two transactions could wait for each other
        async with own_thread() as thread, _session_in(thread, make) as session:
            yield session
    else:
        async with _session_in(job, make) as session:
            yield session


def _require_place(job: JobThread | None) -> None:
    joined = db.joined_connection() is not None
    if joined and job is None:
        raise OpenTransactionError(
            "this actor with once=True is not async, so its thread cannot run the queries of an "
            "event loop: declare it with async def, or use job_session()"
        )
    if joined and job is not None and job.blocks:
        raise OpenTransactionError(
            "another async_job_session() of this job is open, and both would be one transaction: "
            "pass its session on, or use one after the other"
        )
    if db.is_in_transaction() and not joined:
        raise OpenTransactionError(
            "async_job_session() is a transaction of its own here, and one is open: leave out that "
            "one, or write in it"
        )


@asynccontextmanager
async def _session_in(
    thread: JobThread, make: Callable[..., AnyAsyncSession]
) -> AsyncGenerator[AnyAsyncSession]:
    async with ThreadBlock(thread) as block:
        conn = await block.enter(db.transaction())
        lent = await block.enter(lend_async_connection(conn, block))
        bind = AsyncConnection(AsyncEngine(async_lending_engine()), lent)
        session = make(**session_options(bind))
        if not isinstance(session, AsyncSession):
            raise TypeError(f"{make!r} makes no AsyncSession: use job_session()")
        async with session:
            with require_connection(session.sync_session, lent):
                yield session
            if session.in_transaction():
                await session.commit()
