"""PgQueuer's own database in the PostgreSQL of a run."""

import asyncio
from typing import LiteralString
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psycopg
from pgqueuer.queries import Queries

NAME: LiteralString = "bench_pgqueuer"


def create_database(url: str) -> str:
    """Create the database with PgQueuer's tables; return its URL."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {NAME}")
    made = urlunsplit(urlsplit(url)._replace(path=f"/{NAME}"))
    asyncio.run(install_tables(made))
    return made


async def install_tables(url: str) -> None:
    """Create PgQueuer's tables, with the vacuum settings that it recommends."""
    conn = await asyncpg.connect(url)
    try:
        queries = Queries.from_asyncpg_connection(conn)
        await queries.install()
        await queries.optimize_autovacuum()
    finally:
        await conn.close()


def empty_database(url: str) -> None:
    """Remove everything that a round left behind."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("TRUNCATE pgqueuer, pgqueuer_log, pgqueuer_statistics")
