"""End all sessions of users of the console."""

from collections.abc import Mapping, Sequence

from workshed.console.operations.operation import Operation
from workshed.database.postgres import Connection
from workshed.jobs.control import console_sessions


def _find_users(_conn: Connection, names: Sequence[str]) -> Mapping[str, str]:
    """Return all names, also of users who were removed from the settings."""
    return {name: name for name in names}


def _log_out(conn: Connection, user_name: str) -> str:
    ended = console_sessions.delete_user_sessions(conn, user_name)
    return f"ended {count_sessions(ended)}" if ended else "not logged in"


def count_sessions(count: int) -> str:
    """Return a number of sessions in words: `1 session`, `3 sessions`."""
    return "1 session" if count == 1 else f"{count} sessions"


LOG_OUT = Operation(
    "console.logout",
    "user",
    _find_users,
    _log_out,
    changed={"ended": "Within 5 s every console refuses their cookies, and open live pages end."},
    unchanged=("not logged in",),
)
