"""Workshed's tables, created by `manage.py migrate`."""

import sys
from typing import Any, TextIO

import psycopg
from django.db import connections
from psycopg import sql

from workshed import migrate
from workshed.contrib.django import configuration


def apply_workshed_migrations(
    using: str, verbosity: int, stdout: TextIO = sys.stdout, **_: Any
) -> None:
    """Apply Workshed's migrations before the project's own, which may send jobs.

    They are applied to the database that Django migrates. If its tests have just created that,
    Workshed uses it from now on, too.
    """
    if using != configuration.database_alias() or not configuration.is_postgresql(using):
        return
    connection = connections[using]
    given = connection.get_connection_params()
    own = {key: value for key, value in given.items() if key not in ("context", "cursor_factory")}
    with psycopg.connect(**own, autocommit=True) as conn:
        if role := connection.settings_dict["OPTIONS"].get("assume_role"):
            conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for migration in migrate.apply_pending(conn, migrate.list_streams()):
            if verbosity:
                stdout.write(f"  Applied {migration.stream}/{migration.name}\n")
    if not configuration.is_same_database(connection.settings_dict):
        configuration.adopt_database(using)
