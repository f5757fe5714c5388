"""The application's own engines, when PostgreSQL fails over."""

from typing import Any

import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

READ_ONLY = "25006"
"""PostgreSQL's code for a write in a read-only transaction."""


def watch_engine(engine: sqlalchemy.Engine | AsyncEngine) -> None:
    """Let an engine drop its connections when a write finds its server read-only.

    After a failover, connections may lead to a server that has become a replica. It answers, so
    neither `pool_pre_ping` nor SQLAlchemy finds them broken, and each write fails until they are
    closed. With this, only the first write fails, and the next transaction opens a connection.

    Call it once for each engine, synchronous or for asyncio. A transaction that you make read-only
    yourself, by the option `postgresql_readonly`, drops nothing.
    """
    watched = engine.sync_engine if isinstance(engine, AsyncEngine) else engine
    event.listen(watched, "handle_error", _drop_read_only)


def _drop_read_only(context: ExceptionContext) -> None:
    error: Any = context.original_exception
    code = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    conn = context.connection
    is_wanted = conn is not None and conn.get_execution_options().get("postgresql_readonly")
    if code == READ_ONLY and not is_wanted:
        context.is_disconnect = True  # so SQLAlchemy closes all connections of the pool
