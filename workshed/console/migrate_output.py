"""The output of `workshed migrate`."""

from collections.abc import Iterator

from psycopg import sql

from workshed.database.postgres import Connection
from workshed.migrate import Migration, list_applied, list_pending


def format_applied(applied: list[Migration]) -> Iterator[str]:
    """Yield a line for each applied migration."""
    for migration in applied:
        yield f"applied {migration.stream}/{migration.name}"
    if not applied:
        yield "up to date"


def as_data(
    conn: Connection, streams: tuple[str, ...], applied: list[Migration] | None
) -> list[dict[str, object]]:
    """Return the migrations in `applied`, or all if that is `None`.

    `applied_at` is null for one that is pending.
    """
    known = {(row.stream, row.name): row.applied_at for row in list_applied(conn)}
    waiting = {(one.stream, one.name): None for one in list_pending(conn, streams)}
    wanted = known | waiting if applied is None else [(one.stream, one.name) for one in applied]
    return [
        {"stream": stream, "name": name, "applied_at": known.get((stream, name))}
        for stream, name in wanted
    ]


def format_status(conn: Connection, streams: tuple[str, ...]) -> Iterator[str]:
    """Yield the state of each migration, including those of a newer release."""
    for row in list_applied(conn):
        yield f"applied  {row.stream}/{row.name}  {row.applied_at:%Y-%m-%d %H:%M:%S %Z}"
    for migration in list_pending(conn, streams):
        yield f"pending  {migration.stream}/{migration.name}"


def format_pending_sql(conn: Connection, streams: tuple[str, ...]) -> Iterator[str]:
    """Yield the pending migrations as a SQL script, which also records that they are applied."""
    note = sql.SQL("INSERT INTO workshed.migrations (stream, name, checksum) VALUES ({}, {}, {});")
    for migration in list_pending(conn, streams):
        row = (migration.stream, migration.name, migration.checksum)
        yield f"-- {migration.stream}/{migration.name}.sql\nBEGIN;\n{migration.sql.strip()}"
        yield f"{note.format(*row).as_string(conn)}\nCOMMIT;\n"
