"""Procrastinate's own database in the PostgreSQL of a run."""

from typing import LiteralString

import procrastinate
import psycopg
from psycopg.conninfo import make_conninfo

NAME: LiteralString = "bench_procrastinate"


def create_database(url: str) -> str:
    """Create the database with Procrastinate's tables; return how to connect to it."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {NAME}")
    made = make_conninfo(url, dbname=NAME)
    app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=made))
    with app.open():
        app.schema_manager.apply_schema()
    return made


def empty_database(conninfo: str) -> None:
    """Remove everything that a round left behind."""
    with psycopg.connect(conninfo, autocommit=True) as conn:
        conn.execute(
            "TRUNCATE procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers,"
            " procrastinate_workers"
        )
