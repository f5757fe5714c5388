"""Sessions: where you are logged in, and for operators, who else is."""

from collections.abc import Mapping, Sequence
from typing import Any

from workshed.console.errors import NotFoundError
from workshed.console.web.auth import users
from workshed.console.web.auth.log_out import LOG_OUT, count_sessions
from workshed.console.web.auth.sessions import LIMITS, list_valid_sessions
from workshed.console.web.view.browsers import describe_browser
from workshed.console.web.view.page import (
    Action,
    ActionRequest,
    ActionResult,
    Page,
    PageRequest,
)
from workshed.console.web.view.selection import create_action
from workshed.jobs.control import console_sessions
from workshed.jobs.control.console_sessions import SessionRow

BACK = "/sessions"
MOST_SHOWN = 1_000
"""Sessions that the page looks at: users have a few each."""


def load_sessions(ask: PageRequest) -> Mapping[str, Any]:
    """Show the user's sessions; operators also see how many each other user has."""
    own = list_valid_sessions(ask.conn, users.configured_users(), ask.user.name, MOST_SHOWN)
    others: Sequence[SessionRow] = ()
    if ask.user.may_act:
        found = list_valid_sessions(ask.conn, users.configured_users(), None, MOST_SHOWN)
        others = [row for row in found if row.user_name != ask.user.name]
    return {
        "sessions": [describe_session(row, ask.user.session) for row in own],
        "others": summarize_users(others),
        "idle": LIMITS.idle,
        "lifetime": LIMITS.lifetime,
    }


def describe_session(row: SessionRow, current: str | None) -> dict[str, Any]:
    """Return what the page shows of a session."""
    return {
        "id": row.id,
        "address": row.address,
        "browser": describe_browser(row.browser),
        "user_agent": row.browser,
        "created_at": row.created_at,
        "seen_at": row.seen_at,
        "expires_at": row.expires_at,
        "is_current": row.id == current,
    }


def summarize_users(rows: Sequence[SessionRow]) -> list[dict[str, Any]]:
    """Return each user with the number of sessions and the last use, sorted by name."""
    by_name: dict[str, list[SessionRow]] = {}
    for row in rows:
        by_name.setdefault(row.user_name, []).append(row)
    return [
        {"user": name, "count": len(theirs), "seen_at": max(row.seen_at for row in theirs)}
        for name, theirs in sorted(by_name.items())
    ]


def end_session(deed: ActionRequest) -> ActionResult:
    """End one of the user's own sessions."""
    session_id = deed.form.one("id")
    if not console_sessions.delete_session(deed.conn, session_id, deed.user.name):
        raise NotFoundError("This session has ended already.")
    return ActionResult("1 session ended.", 1, {"sessions": [session_id]}, BACK)


def end_other_sessions(deed: ActionRequest) -> ActionResult:
    """End all sessions of the user but this one."""
    ended = console_sessions.delete_user_sessions(
        deed.conn, deed.user.name, spared=deed.user.session
    )
    if not ended:
        raise NotFoundError("You have no other session.")
    return ActionResult(
        f"{count_sessions(ended)} ended.", ended, {"spared": deed.user.session}, BACK
    )


def has_sessions() -> bool:
    """Return whether users log in with a password here."""
    return bool(users.configured_users())


PAGES: tuple[Page, ...] = (
    Page(
        BACK,
        "Sessions",
        "sessions.html",
        load_sessions,
        group="People",
        is_available=has_sessions,
    ),
)
ACTIONS: tuple[Action, ...] = (
    Action("/sessions/end", "console.logout", end_session, is_personal=True),
    Action("/sessions/end-others", "console.logout", end_other_sessions, is_personal=True),
    create_action("/sessions/log-out", LOG_OUT, "user", BACK),
)
