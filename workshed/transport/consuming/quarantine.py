"""Store deliveries that no actor here can run, without delaying the ones behind them."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.dead import dead_jobs
from workshed.metrics import meters
from workshed.middleware import DuplicateDelivery
from workshed.queues import Queue
from workshed.transport.amqp.acks import Settlement
from workshed.transport.consuming.delivery import DeliveryChannel
from workshed.transport.errors import EnvelopeError

logger = logging.getLogger(__name__)

PAUSE_S = 1.0


class Quarantine:
    """Deliveries that wait for a step that stores them; they do not delay the next ones.

    Used by one consumer thread. A step returns `False` if it has queued its delivery for a worker
    thread instead. One that fails for a transient reason is retried later; one that fails for any
    other reason sends its delivery to the dead queue.
    """

    def __init__(self, queue: Queue, settle: Callable[[Any, int, Settlement], None]) -> None:
        self._queue = queue
        self._settle = settle
        self._waiting: deque[tuple[DeliveryChannel, int, Callable[[], bool]]] = deque()
        self._next_try = 0.0

    def add(self, channel: DeliveryChannel, tag: int, step: Callable[[], bool]) -> None:
        """Add a delivery, and store it now if possible."""
        self._waiting.append((channel, tag, step))
        self.process()

    def process(self) -> None:
        """Run the waiting steps, until one fails; then pause."""
        while self._waiting and time.monotonic() >= self._next_try:
            channel, tag, step = self._waiting[0]
            is_stored = True
            try:
                verb: Settlement = "requeue"  # which has no effect once its server has done that
                if channel.is_open:
                    verb = "ack"
                    with db.limited_wait():
                        is_stored = step()
            except db.TRANSIENT_ERRORS as err:
                logger.warning("PostgreSQL: %s; trying again in %g s", str(err).strip(), PAUSE_S)
                self._next_try = time.monotonic() + PAUSE_S
                return
            except DuplicateDelivery as copy:
                logger.info("duplicate: %s", copy)
            except Exception:
                logger.exception("it could not be stored and goes to %s", self._queue.dead_name)
                verb = "reject"
            self._waiting.popleft()
            if is_stored:
                self._settle(channel, tag, verb)


def dead_letter_unreadable(
    queue: Queue, message_id: str | None, body: bytes, error: EnvelopeError
) -> bool:
    """Store an unreadable message in the dead table."""
    with db.transaction() as conn:
        store_unreadable(conn, queue.name, body, error, message_id)
    meters.UNREADABLE.add(queue.name)
    logger.error("unreadable message on %s: %s", queue.name, error)
    return True


def store_unreadable(
    conn: Connection, queue: str, body: bytes, error: EnvelopeError, message_id: str | None = None
) -> None:
    """Store an unreadable message as it came, in the dead table."""
    dead_jobs.add_dead_job(
        conn,
        message_id=message_id or fallback_message_id(body),
        generation=0,
        attempt=0,
        queue=queue,
        actor=None,
        body=body,
        reason=str(error),
        error=error,
    )


def fallback_message_id(body: bytes) -> str:
    """Derive an ID from the body of a message without one, so that a copy has the same ID."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
