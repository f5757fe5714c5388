"""The databases that Django's tests create, and delete: Workshed uses them meanwhile."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import connections
from django.db.backends.base.creation import BaseDatabaseCreation

from workshed import db
from workshed.contrib.django import configuration
from workshed.transport.build import get_broker

FOLLOWING = "follows_workshed"
"""Marks the methods of Django that already do so."""
_created: set[tuple[str, str]] = set()
"""The alias and the name of each database that tests have created."""


def follow_tests() -> None:
    """Let Workshed use the database of each process of `manage.py test`, also of `--parallel`."""
    _wrap("create_test_db", after=_note)
    _wrap("setup_worker_connection", after=_adopt)
    _wrap("destroy_test_db", before=_leave)


def is_created(alias: str) -> bool:
    """Return whether tests have created the database that Django and Workshed use now."""
    configured = connections[alias].settings_dict
    is_ours = (alias, configured["NAME"]) in _created
    return is_ours and configuration.is_same_database(configured)


def list_names() -> list[str]:
    """Return the names of all databases that tests have created, for any alias."""
    return sorted({str(name) for _, name in _created})


def _note(creation: Any) -> None:
    _created.add((creation.connection.alias, creation.connection.settings_dict["NAME"]))


def _adopt(creation: Any) -> None:
    _note(creation)
    if creation.connection.alias == configuration.database_alias():
        configuration.adopt_database(creation.connection.alias)


def _leave(creation: Any) -> None:
    """Close the connections to it, without which PostgreSQL cannot drop it."""
    if creation.connection.alias != configuration.database_alias():
        return
    get_broker().close()  # the thread that deletes the rows of sent messages keeps a connection
    if db.has_pool():
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
