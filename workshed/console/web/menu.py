"""The menu: the pages available in this installation, by group."""

import time
from collections.abc import Sequence

from workshed import db
from workshed.console.web.pages import list_pages
from workshed.console.web.view.page import Download, Page

RECHECK_S = 60.0
"""How long a missing schema is remembered; schemas appear only with a migration."""
_checked_schemas: dict[str, float] = {}


def build_menu() -> list[tuple[str, Sequence[Page]]]:
    """Return the groups with their pages, in order."""
    groups: dict[str, list[Page]] = {}
    for page in list_pages():
        if page.group is not None and is_available(page):
            groups.setdefault(page.group, []).append(page)
    return list(groups.items())


def is_available(page: Page | Download) -> bool:
    """Return whether a page has anything to show in this installation."""
    return has_schema(page.required_schema) and page.is_available()


def has_schema(name: str) -> bool:
    """Return whether the database has a schema; asks for a missing one again after `RECHECK_S`."""
    if name == "jobs" or name in _checked_schemas:
        return True
    if time.monotonic() - _checked_schemas.get(f"-{name}", -RECHECK_S) < RECHECK_S:
        return False
    with db.autocommit_statement() as conn:
        found = conn.execute("SELECT to_regnamespace(%s) IS NOT NULL", (name,)).fetchone()
    _checked_schemas[name if found and found[0] else f"-{name}"] = time.monotonic()
    return bool(found and found[0])
