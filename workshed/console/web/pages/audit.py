"""Audit: who did what, to how many objects, and when; and who logged in, or tried to."""

from collections.abc import Mapping
from typing import Any

from workshed.console.web.view.page import ROWS, Action, BadQueryError, Page, PageRequest
from workshed.jobs.control import audit
from workshed.jobs.control.audit import AuditFilter

KINDS: Mapping[str, bool | None] = {"": None, "actions": False, "logins": True}
"""Values of the filter `kind`: whether the entries are about logins."""


def load_entries(ask: PageRequest) -> Mapping[str, Any]:
    """Show the latest entries, optionally of one user, one action or one kind."""
    kind = ask.text("kind") or ""
    if kind not in KINDS:
        raise BadQueryError(f"kind: {kind!r} must be actions or logins")
    which = AuditFilter(ask.text("by"), ask.text("action"), KINDS[kind])
    found = audit.list_entries(ask.conn, which, before=ask.number("before"), limit=ROWS + 1)
    older = found[ROWS - 1].id if len(found) > ROWS else None
    return {"entries": found[:ROWS], "older": older}


PAGES: tuple[Page, ...] = (Page("/audit", "Audit", "audit.html", load_entries, group="People"),)
ACTIONS: tuple[Action, ...] = ()
