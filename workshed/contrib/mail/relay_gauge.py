"""Report mail servers in trouble and held mails."""

import time

from workshed.contrib.mail import meters, troubles
from workshed.database.postgres import Connection

QUERY_EVERY_S = 10.0
TIME_SHARE = 0.01
"""Share of the time that the queries may take."""


class MailTroubleGauge:
    """A duty of relays, because workers whose mails wait for a server run none of their jobs."""

    def __init__(self) -> None:
        self._reported: set[str] = set()

    def __call__(self, conn: Connection) -> float:
        """Query once; a server that accepts mails again is reported with 0."""
        started = time.monotonic()
        found = troubles.find_troubles(conn)
        if found is None:
            return QUERY_EVERY_S
        for server, span in found.failing_for.items():
            meters.MAIL_SERVER_FAILING.set(span.total_seconds(), server)
        for server in self._reported - found.failing_for.keys():
            meters.MAIL_SERVER_FAILING.set(0, server)
        self._reported |= found.failing_for.keys()
        meters.MAILS_HELD.set(found.held)
        return max(QUERY_EVERY_S, (time.monotonic() - started) / TIME_SHARE)
