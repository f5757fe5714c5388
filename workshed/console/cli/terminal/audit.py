"""Record what commands change in the audit, as the web console does."""

import contextlib
import getpass
import json
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

from workshed import db
from workshed.console.operations.operation import id_details, summarize_answers
from workshed.console.text import escape_control, to_json_type
from workshed.database.postgres import Connection
from workshed.jobs.control import audit
from workshed.value_class import value_class


@value_class
class AuditedAction:
    """An action on several objects; it is recorded at the end, even if that comes early."""

    conn: Connection
    action: str
    """The command, as the web console names it too: `dead.retry`."""
    change_answers: Collection[str]
    """Answers that mean that something has changed."""
    details: Mapping[str, Any] | None = None
    """The filter that selected the objects; `None` if the user listed them."""

    def record(self, answers: Mapping[str, str], of: int, kind: str) -> None:
        """Record the answers for the objects done so far; `of`: how many there were to do."""
        changed = [one for one, answer in answers.items() if answer in self.change_answers]
        about = id_details(kind, changed) if self.details is None else self.details
        said = summarize_answers(kind, answers)
        if len(answers) < of:
            said += f" Interrupted; {of} were requested."
        record_action(self.conn, self.action, about, count=len(changed), said=said)


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


def filter_details(which: Any) -> dict[str, Any]:
    """Return the filter of a command with `--all`, for the audit."""
    given = {name: value for name, value in asdict(which).items() if value is not None}
    return {"all": True} | given
