"""Mail servers in trouble and held mails, for relays."""

from datetime import timedelta

from workshed import migrate
from workshed.contrib.mail import stored_mails
from workshed.contrib.mail.tables import STREAM
from workshed.database.postgres import Connection
from workshed.value_class import value_class


@value_class
class MailTroubles:
    """Mail servers in trouble, and how many mails need an operator's decision."""

    failing_for: dict[str, timedelta]
    """By server; one that accepts mails is not listed."""
    held: int


def find_troubles(conn: Connection) -> MailTroubles | None:
    """Query the state; `None` if its tables do not exist yet."""
    if not migrate.is_applied(conn, STREAM):
        return None
    query = """
        SELECT name, workshed.now() - failing_since FROM workshed_mail.mail_servers
         WHERE failures > 0
    """
    failing: dict[str, timedelta] = dict(conn.execute(query).fetchall())
    return MailTroubles(failing, stored_mails.count_held(conn))
