"""The databases that Django's tests create, and delete: Workshed uses them meanwhile."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db.backends.base.creation import BaseDatabaseCreation

from workshed import db
from workshed.contrib.django import configuration

FOLLOWING = "follows_workshed"
"""Marks the methods of Django that already do so."""


def follow_tests() -> None:
    """Let Workshed use the database of each process of `manage.py test`, also of `--parallel`."""
    _wrap("setup_worker_connection", after=_adopt)
    _wrap("destroy_test_db", before=_leave)


def _adopt(creation: Any) -> None:
    if creation.connection.alias == configuration.database_alias():
        configuration.adopt_database(creation.connection.alias)


def _leave(creation: Any) -> None:
    """Close the connections to it, without which PostgreSQL cannot drop it."""
    if creation.connection.alias == configuration.database_alias() and db.has_pool():
        db.close_pool()


def _wrap(
    method: str,
    before: Callable[[Any], None] = lambda _: None,
    after: Callable[[Any], None] = lambda _: None,
) -> None:
    original = getattr(BaseDatabaseCreation, method)
    if hasattr(original, FOLLOWING):
        return

    @wraps(original)
    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        before(self)
        result = original(self, *args, **options)
        after(self)
        return result

    setattr(wrapped, FOLLOWING, True)
    setattr(BaseDatabaseCreation, method, wrapped)
