"""What keeps mails from being delivered, for relays."""

from dataclasses import dataclass
from datetime import timedelta

from workshed import migrate
from workshed.contrib.mail import emails
from workshed.contrib.mail.tables import STREAM
from workshed.db import Connection


@dataclass(frozen=True, slots=True)
class MailTroubles:
    """How the mail servers are, and how many mails an operator is to decide about."""

    failing_for: dict[str, timedelta]
    """By the server; one that takes mails is not there."""
    held: int


def find(conn: Connection) -> MailTroubles | None:
    """Look; `None` before its tables are there."""
    if not migrate.is_applied(conn, STREAM):
        return None
    query = """
        SELECT name, workshed.now() - failing_since FROM workshed_mail.mail_servers
         WHERE failures > 0
    """
    failing: dict[str, timedelta] = dict(conn.execute(query).fetchall())
    return MailTroubles(failing, emails.count_held(conn))
