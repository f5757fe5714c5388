"""Apply each numbered SQL file of a migration stream once, in its own transaction."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from workshed.app import get_app, load_module
from workshed.database.postgres import Connection, class_row
from workshed.errors import MigrationError, SettingsError
from workshed.value_class import value_class

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

OWN_STREAM = "workshed"
"""Workshed's own stream. `workshed.migrations` records what is applied of every stream."""

# Any number; it only has to be the same in every release, so that two deploys wait for each other.
LOCK_ID = 0x776F726B


@value_class
class Migration:
    """One numbered file of a stream."""

    stream: str
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Hash of the file, which shows whether it was edited after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@value_class
class AppliedMigration:
    """A row of `workshed.migrations`."""

    stream: str
    name: str
    checksum: str
    applied_at: datetime


def list_streams() -> tuple[str, ...]:
    """Return the names of this program's streams: Workshed's, then those of the `App`.

    Raises `SettingsError` if the `App` uses Workshed's name.
    """
    added = get_app().migrations
    if OWN_STREAM in added:
        raise SettingsError(
            f"your App names a stream of migrations {OWN_STREAM!r}: Workshed has one of that name"
        )
    return (OWN_STREAM, *added)


def list_migrations(of: tuple[str, ...]) -> Iterator[Migration]:
    """Yield the files of these streams, in the order in which they are applied.

    Raises `SettingsError` if an application has no such folder.
    """
    for stream in of:
        for file in sorted(_find_folder(stream).iterdir(), key=lambda f: f.name):
            if file.name.endswith(".sql"):
                yield Migration(stream, file.name.removesuffix(".sql"), file.read_text("utf-8"))


def list_applied(conn: Connection) -> list[AppliedMigration]:
    """Return the migrations this database has, oldest first; none if it was never migrated."""
    found = conn.execute("SELECT to_regclass('workshed.migrations')").fetchone()
    if found is None or found[0] is None:
        return []
    query = (
        "SELECT stream, name, checksum, applied_at FROM workshed.migrations "
        "ORDER BY applied_at, name"
    )
    with conn.cursor(row_factory=class_row(AppliedMigration)) as cur:
        return cur.execute(query).fetchall()


def list_pending(conn: Connection, of: tuple[str, ...]) -> list[Migration]:
    """Return the files this database lacks.

    Raises `MigrationError` if a file was edited after it was applied, because two databases of one
    release would differ, and if the database has files of a stream but lacks the first one, because
    it was made by a program whose files are not those of this release.
    """
    applied = {(row.stream, row.name): row.checksum for row in list_applied(conn)}
    begun = {stream for stream, _ in applied}
    missing = []
    for migration in list_migrations(of):
        checksum = applied.get((migration.stream, migration.name))
        if checksum is None:
            missing.append(migration)
        elif checksum != migration.checksum:
            raise MigrationError(
                f"{migration.stream}/{migration.name}.sql was edited after it was applied; "
                "restore the file and put the change into a new one"
            )
    for stream in begun.intersection(of):
        first = next(list_migrations((stream,)), None)
        if first in missing:
            raise MigrationError(
                f"the database has migrations of stream {stream!r}, but not its first, "
                f"{first.name!r}: it was made before the first release, or by another program; "
                "use a new database"
            )
    return missing


def require_stream(conn: Connection, stream: str) -> None:
    """Raise `MigrationError` when the database lacks migrations of a stream."""
    missing = list_pending(conn, (stream,))
    if missing:
        raise MigrationError(
            f"the database lacks migrations of stream {stream!r}, from {missing[0].name!r} on: "
            "run `workshed migrate`"
        )


def is_applied(conn: Connection, stream: str) -> bool:
    """Return whether the database has all migrations of a stream.

    Raises `MigrationError` like `list_pending`, and `SettingsError` if the App has no such stream.
    """
    return not list_pending(conn, (stream,))


def apply_pending(conn: Connection, of: tuple[str, ...]) -> list[Migration]:
    """Apply and return the missing migrations; `conn` must be in autocommit.

    Of two concurrent calls, one waits for the other and then finds nothing to do. Raises
    `MigrationError` if something is missing and the server is read-only.
    """
    applied: list[Migration] = []
    while True:
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_ID,))
            todo = list_pending(conn, of)
            if not todo:
                return applied
            _require_writable(conn)
            conn.execute(todo[0].sql.encode())
            conn.execute(
                "INSERT INTO workshed.migrations (stream, name, checksum) VALUES (%s, %s, %s)",
                (todo[0].stream, todo[0].name, todo[0].checksum),
            )
        applied.append(todo[0])


def _require_writable(conn: Connection) -> None:
    if conn.execute("SHOW transaction_read_only").fetchone() == ("on",):
        raise MigrationError(
            "nothing was applied, because this PostgreSQL is read-only, as a replica is: connect "
            "to the primary, for example with `?target_session_attrs=read-write` in the URL"
        )


def _find_folder(stream: str) -> "Traversable":
    # A program that only sends declares actors with `needs=`, and reads no file.
    from importlib import resources  # noqa: PLC0415 -- takes 5 ms

    if stream == OWN_STREAM:
        return resources.files("workshed").joinpath("sql")
    package = get_app().migrations.get(stream)
    if package is None:
        raise SettingsError(f"your App has no stream of migrations {stream!r}")
    try:
        folder = resources.files(load_module(package)).joinpath("sql")
    except SettingsError as err:
        raise SettingsError(f"your App's migrations, {stream!r}: {err}") from None
    if not folder.is_dir():
        raise SettingsError(f"your App's migrations, {stream!r}: there is no folder {folder}")
    return folder
