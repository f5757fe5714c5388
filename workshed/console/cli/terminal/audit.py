"""Record what commands change in the audit, as the web console does."""

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from workshed import db
from workshed.console.text import escape_control, to_json_type
from workshed.database.postgres import Connection
from workshed.jobs.control import audit


def record_action(
    conn: Connection, action: str, about: Mapping[str, Any], *, count: int = 1, said: str
) -> None:
    """Write an audit entry in the transaction of `conn`, if any; nothing for a `count` of 0.

    If an interrupt or an outage has closed `conn`, the entry goes through a new connection.
    """
    if not count:
        return
    data = json.loads(json.dumps(about, default=to_json_type))
    with db.connect() if conn.closed else contextlib.nullcontext(conn) as usable:
        audit.record_entry(
            usable,
            performed_by=describe_user(),
            action=action,
            details=data,
            count=count,
            summary=said,
        )


def describe_user() -> str:
    """Return the user of this command and the host: `ada@web-1 (command)`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container whose users have no names; KeyError before 3.13
        user = str(os.getuid())
    return escape_control(f"{user}@{socket.gethostname()} (command)")
