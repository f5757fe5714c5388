"""A circuit breaker for each mail server, which holds back mails while a server is in trouble.

Trouble of the server itself costs no mail an attempt: it refuses the connection, is closing, or
accepts no login or no sender now. After a few such failures in a row the server is held, and no
worker sends anything through it. Then one mail probes it: depending on its result, the server is
free, or held for longer.
"""

import logging
import random
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, LiteralString

from workshed import db
from workshed.contrib.mail.errors import MailError, MailServerAway
from workshed.contrib.mail.protocol import deadline
from workshed.contrib.mail.smtp_server import SmtpServer
from workshed.database.postgres import Connection, class_row
from workshed.settings import Settings, settings
from workshed.value_class import value_class

logger = logging.getLogger(__name__)

MAILDIR = "maildir:"
FAILURES_TO_HOLD = 3
FIRST_HOLD, LONGEST_HOLD = timedelta(seconds=15), timedelta(minutes=5)
SHORT_DELAY = timedelta(seconds=5)
"""A mail is retried after one to two times this if its failure did not trip the circuit, or while
the probe is in progress."""


@value_class
class SendPermit:
    """Permission to send one mail through a server."""

    server: str
    since: datetime
    """By PostgreSQL's clock."""
    failures: int
    is_held: bool


@value_class
class ServerTrouble:
    """A mail server in trouble, as people read it."""

    name: str
    failures: int
    failing_since: datetime
    last_error: str
    circuit_open_until: datetime | None
    now: datetime
    """PostgreSQL's clock, to compare the times with."""


def get_server_name(known: Settings | None = None) -> str:
    """Return the name of the server of `WORKSHED_SMTP_URL`: `host:port`, or its folder.

    Raises `SettingsError`.
    """
    url = (known or settings()).smtp_url.get_secret_value()
    return url if url.startswith(MAILDIR) else str(SmtpServer.from_url(url))


def acquire_permit(conn: Connection) -> SendPermit:
    """Permit one mail to be sent; raises `MailServerAway` while the server is held."""
    server = get_server_name()
    query = """
        SELECT now, coalesce(failures, 0), circuit_open_until IS NOT NULL,
               circuit_open_until - now, last_error
          FROM (SELECT workshed.now() AS now) AS t
          LEFT JOIN workshed_mail.mail_servers ON name = %s
    """
    now, failures, held, left, said = _fetch_row(conn, query, (server,))
    leave = SendPermit(server, now, failures, held)
    if held and (left > timedelta() or not _claim_probe(conn, leave)):
        raise MailServerAway(_retry_delay(left), server, said, is_held=left > timedelta())
    return leave


def get_hold(conn: Connection) -> tuple[timedelta, str] | None:
    """Return how much longer the server is held, and why; `None` if it can be tried."""
    query = """
        SELECT circuit_open_until - workshed.now(), last_error FROM workshed_mail.mail_servers
         WHERE name = %s AND circuit_open_until > workshed.now()
    """
    found = conn.execute(query, (get_server_name(),)).fetchone()
    return found and (found[0], found[1])


def record_answer(leave: SendPermit) -> None:
    """Free a server that replied about a mail, unless it was held after that delivery began."""
    if not (leave.failures or leave.is_held):
        return
    query = """
        UPDATE workshed_mail.mail_servers
           SET failures = 0, failing_since = NULL, last_error = NULL, circuit_opened_at = NULL,
               circuit_open_until = NULL, probe_at = NULL
         WHERE name = %(server)s AND (circuit_opened_at IS NULL OR circuit_opened_at <= %(since)s)
    """
    try:
        with db.transaction() as conn:
            conn.execute(query, {"server": leave.server, "since": leave.since})
    except db.TRANSIENT_ERRORS as lost:  # the caller must still record that the mail is out
        logger.warning("that %s is free is not recorded: %s", leave.server, str(lost).strip())


def cancel_probe(leave: SendPermit) -> None:
    """Let another mail probe a held server, because this one was not sent to it."""
    if not leave.is_held:
        return
    query = """
        UPDATE workshed_mail.mail_servers SET probe_at = NULL WHERE name = %s AND probe_at = %s
    """
    with (
        suppress(*db.TRANSIENT_ERRORS),
        db.transaction() as conn,
    ):  # if that fails, the probe expires
        conn.execute(query, (leave.server, leave.since))


def count_failure(conn: Connection, leave: SendPermit, error: MailError) -> MailServerAway:
    """Count a failure of the server, hold it if there are too many; return the error for the mail.

    Each failed probe doubles the time that the server is held. A delivery that began before the
    server was held does not count.
    """
    query = """
        INSERT INTO workshed_mail.mail_servers AS s (name, failures, failing_since, last_error)
        VALUES (%(server)s, 1, workshed.now(), %(said)s)
            ON CONFLICT (name) DO UPDATE
           SET failures = s.failures + 1, last_error = %(said)s,
               failing_since = COALESCE(s.failing_since, workshed.now()),
               circuit_opened_at = CASE WHEN s.failures + 1 >= %(trips_at)s THEN workshed.now()
                              ELSE s.circuit_opened_at END,
               circuit_open_until = CASE
                   WHEN s.failures + 1 >= %(trips_at)s
                   THEN workshed.now() + least(
                       %(first)s * power(2, least(s.failures + 1 - %(trips_at)s, 20)), %(longest)s)
                   ELSE s.circuit_open_until END,
               probe_at = NULL
         WHERE s.circuit_opened_at IS NULL OR s.circuit_opened_at <= %(since)s
    """
    values = {
        "server": leave.server,
        "said": str(error),
        "since": leave.since,
        "trips_at": FAILURES_TO_HOLD,
        "first": FIRST_HOLD,
        "longest": LONGEST_HOLD,
    }
    conn.execute(query, values)
    left = get_hold(conn)
    delay = _retry_delay(timedelta() if left is None else left[0])
    return MailServerAway(delay, leave.server, str(error), is_held=left is not None)


def end_hold(conn: Connection, server: str) -> bool:
    """Let a held server be tried now; False if it is not held."""
    query = """
        UPDATE workshed_mail.mail_servers
           SET circuit_opened_at = workshed.now(), circuit_open_until = workshed.now(),
               probe_at = NULL
         WHERE name = %s AND circuit_open_until > workshed.now()
    """
    return conn.execute(query, (server,)).rowcount == 1


def list_troubles(conn: Connection) -> list[ServerTrouble]:
    """Return the servers that have failed since they last accepted a mail."""
    query = """
        SELECT name, failures, failing_since, last_error, circuit_open_until, workshed.now() AS now
          FROM workshed_mail.mail_servers
         WHERE failures > 0
         ORDER BY name
    """
    with conn.cursor(row_factory=class_row(ServerTrouble)) as cur:
        return cur.execute(query).fetchall()


def _claim_probe(conn: Connection, leave: SendPermit) -> bool:
    """Become the only delivery that probes a held server."""
    query = """
        UPDATE workshed_mail.mail_servers SET probe_at = %(since)s
         WHERE name = %(server)s AND circuit_open_until <= %(since)s
           AND (probe_at IS NULL OR probe_at <= %(since)s - %(probe)s)
    """
    probe = deadline.claim_lifetime(settings().smtp_timeout)
    values = {"server": leave.server, "since": leave.since, "probe": probe}
    return conn.execute(query, values).rowcount == 1


def _retry_delay(left: timedelta) -> timedelta:
    """Return when to retry: once the server is no longer held, and not all mails at once."""
    return max(left, timedelta()) + SHORT_DELAY * random.uniform(1, 2)  # noqa: S311


def _fetch_row(conn: Connection, query: LiteralString, values: tuple[Any, ...]) -> tuple[Any, ...]:
    found = conn.execute(query, values).fetchone()
    assert found is not None  # noqa: S101 -- one row by construction
    return found
