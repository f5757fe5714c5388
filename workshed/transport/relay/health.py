"""The heartbeat of a relay, which keeps its claims valid while it waits for RabbitMQ."""

import os
import socket
from uuid import UUID

from workshed.database.postgres import Connection
from workshed.jobs.outbox import relays

EVERY_S = 2.0


class RelayHeartbeat:
    """The heartbeat of one relay. It may miss four beats before ten seconds have passed."""

    def __init__(self, relay: UUID) -> None:
        self._relay = relay

    def __call__(self, conn: Connection) -> float:
        """Beat."""
        relays.record_relay(conn, self._relay, socket.gethostname(), os.getpid())
        return EVERY_S
