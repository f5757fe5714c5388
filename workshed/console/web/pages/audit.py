"""Audit: who did what, to how many objects, and when."""

from collections.abc import Mapping
from typing import Any

from workshed.console.web.view.page import ROWS, Action, Page, PageRequest
from workshed.jobs.control import audit
from workshed.jobs.control.audit import AuditFilter


def load_entries(ask: PageRequest) -> Mapping[str, Any]:
    """Show the latest entries, optionally of one user or one action."""
    which = AuditFilter(ask.text("by"), ask.text("action"))
    found = audit.list_entries(ask.conn, which, before=ask.number("before"), limit=ROWS + 1)
    older = found[ROWS - 1].id if len(found) > ROWS else None
    return {"entries": found[:ROWS], "older": older}


PAGES: tuple[Page, ...] = (Page("/audit", "Audit", "audit.html", load_entries, group="People"),)
ACTIONS: tuple[Action, ...] = ()
