"""Say that a relay lives: what it has taken stays its own while it waits for RabbitMQ."""

import os
import socket
from uuid import UUID

from workshed.db import Connection
from workshed.jobs.outbox import relays

EVERY_S = 2.0


class RelayHeartbeat:
    """Beats in the name of one relay; of ten silent seconds four beats may be lost."""

    def __init__(self, relay: UUID) -> None:
        """Beat for this relay."""
        self._relay = relay

    def __call__(self, conn: Connection) -> float:
        """Beat."""
        relays.record_relay(conn, self._relay, socket.gethostname(), os.getpid())
        return EVERY_S
