"""What a command has changed stands in the audit, as what the web console does."""

import contextlib
import getpass
import json
import os
import socket
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from workshed import db
from workshed.console.text import plain, visible
from workshed.db import Connection
from workshed.jobs.control import audit

MOST = 1_000
"""Ids in one entry; of those behind them, how many there are."""
FEW = 3
"""That one sentence tells apart; more are counted."""


@dataclass(frozen=True, slots=True)
class AuditedAction:
    """What is done with several, one by one; it is noted at the end, also at an early one."""

    conn: Connection
    action: str
    """The words of the command, as the web console names what it does too: `dead.retry`."""
    changed: Collection[str]
    """What the answer is where something has changed."""
    about: Mapping[str, Any] | None = None
    """What has chosen them; `None`: somebody has named each."""

    def note(self, answers: Mapping[str, str], of: int, kind: str) -> None:
        """Write what became of those that have an answer, `of` so many that were meant."""
        changed = [one for one, answer in answers.items() if answer in self.changed]
        names = "ids" if kind == "message_id" else f"{kind}s"
        about = named(names, changed) if self.about is None else self.about
        said = sentence("Jobs" if kind == "message_id" else names.capitalize(), answers)
        if len(answers) < of:
            said += f" Then it was broken off: of {of}."
        note(self.conn, self.action, about, count=len(changed), said=said)


def note(
    conn: Connection, action: str, about: Mapping[str, Any], *, count: int = 1, said: str
) -> None:
    """Write an entry in the transaction of `conn`, if there is one; none where nothing has changed.

    An interrupt or an outage has closed `conn` where a command breaks off: then on another one.
    """
    if not count:
        return
    data = json.loads(json.dumps(about, default=plain))
    with db.connect() if conn.closed else contextlib.nullcontext(conn) as usable:
        audit.record_entry(
            usable, performed_by=who(), action=action, details=data, count=count, summary=said
        )


def who() -> str:
    """Name the user of this command and its host: `ada@web-1 (command)`."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # as in a container whose users have no names; KeyError before 3.13
        user = str(os.getuid())
    return visible(f"{user}@{socket.gethostname()} (command)")


def chosen(which: Any) -> dict[str, Any]:
    """Return the filter of a command that takes all that fit it."""
    given = {name: value for name, value in asdict(which).items() if value is not None}
    return {"all": True} | given


def named(names: str, ids: list[str]) -> dict[str, Any]:
    """Return what somebody has named, as far as there is room for it."""
    more = len(ids) - MOST
    return {names: ids[:MOST]} | ({"more": more} if more > 0 else {})


def sentence(what: str, answers: Mapping[str, str]) -> str:
    """Say what became of them: `a: paused.`, or `Jobs: 7 deleted, 1 will be skipped.`."""
    if len(answers) <= FEW:
        return "; ".join(f"{one}: {answer}" for one, answer in answers.items()) + "."
    counted = Counter(answers.values())
    return f"{what}: {', '.join(f'{count} {answer}' for answer, count in counted.items())}."
