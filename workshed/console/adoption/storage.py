"""Store the messages of stock dramatiq as jobs, each once.

A key of a message's ID commits together with its job. A delivery that RabbitMQ marks as redelivered
and whose key exists was stored before it could be acknowledged, so it is not stored again.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import dramatiq
import orjson

from workshed import db
from workshed.console.adoption.translation import StockJob, translate
from workshed.database.postgres import Connection
from workshed.errors import DuplicateJobError
from workshed.jobs.dead import dead_jobs
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import ErrorTexts
from workshed.jobs.idempotency import once_keys
from workshed.jobs.outbox.schedule import Reason
from workshed.transport.errors import EnvelopeError
from workshed.transport.messages.envelope import encode_message
from workshed.transport.rabbitmq import RabbitMQBroker

SCOPE = "workshed.adopt"
"""Scope of the keys of stored messages."""
NUL = "\0"
"""No text of PostgreSQL can hold it."""

Fate = Literal["ready", "delayed", "retried", "dead", "refused", "duplicate"]
"""What became of a message. `refused`: it cannot run here, and is in the dead table. `duplicate`:
it was stored before, or another job has its unique key."""
FATES: dict[Reason, Fate] = {"transactional": "ready", "delayed": "delayed", "retry": "retried"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message in hand, from a queue or from its `.DQ` or `.XQ`."""

    queue: str
    tag: int
    body: bytes
    redelivered: bool
    is_dead: bool = False

    @property
    def message_id(self) -> str:
        """Its ID, or one made of its body if it has none."""
        try:
            found = orjson.loads(self.body)["message_id"]
        except (orjson.JSONDecodeError, TypeError, KeyError):
            found = None
        if isinstance(found, str) and found and NUL not in found:
            return found
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.body.hex()))


class AdoptionStore:
    """Stores deliveries through a broker, which checks them as `send` does."""

    def __init__(self, broker: RabbitMQBroker) -> None:
        """Use a broker whose actors are imported."""
        self._broker = broker
        self._options = {name: actor.options for name, actor in broker.actors.items()}

    def store(self, taken: Sequence[Delivery]) -> list[Fate]:
        """Store deliveries in one transaction, or one by one if PostgreSQL refuses any.

        Raises one of `db.TRANSIENT_ERRORS`; then none of them may be acknowledged.
        """
        try:
            return self._store_together(taken)
        except db.TRANSIENT_ERRORS:
            raise
        except db.errors.Error:
            return [self._store_alone(one) for one in taken]

    def _store_together(self, taken: Sequence[Delivery]) -> list[Fate]:
        with db.transaction() as conn:
            new = once_keys.claim_keys(conn, SCOPE, [one.message_id for one in taken])
            fates: list[Fate] = []
            for one in taken:
                is_known = one.message_id not in new
                new.discard(one.message_id)
                fates.append(self._store_one(conn, one, is_known=is_known))
            return fates

    def _store_alone(self, one: Delivery) -> Fate:
        try:
            [fate] = self._store_together([one])
        except db.TRANSIENT_ERRORS:
            raise
        except db.errors.Error as err:
            with db.transaction() as conn:
                once_keys.claim_keys(conn, SCOPE, [one.message_id])
                return bury_unreadable(conn, one, err)
        return fate

    def _store_one(self, conn: Connection, one: Delivery, *, is_known: bool) -> Fate:
        """Store a delivery; `is_known`: one with its ID was stored before."""
        if is_known and one.redelivered:
            return "duplicate"
        try:
            job = translate(one.body, one.queue, self._options)
        except EnvelopeError as err:
            return bury_unreadable(conn, one, err)
        message = job.message
        if is_known:  # an application has sent it twice, and it ran twice there
            message = message.copy(message_id=str(uuid.uuid4()))
        if one.is_dead:
            bury(conn, message, job.attempt, "died under dramatiq", read_traceback(job.traceback))
            return "dead"
        return self._send(conn, message, job)

    def _send(self, conn: Connection, message: dramatiq.Message[Any], job: StockJob) -> Fate:
        try:
            sent = self._broker.store(
                conn, message, delay=timedelta(), at=job.due_at, reason=job.reason
            )
        except db.errors.Error:
            raise
        except DuplicateJobError:
            return "duplicate"
        except Exception as err:  # noqa: BLE001 -- also what a hook of the application raises
            bury(conn, message, job.attempt, str(err), attempts.describe_error(err))
            return "refused"
        return FATES[job.reason] if sent.message_id == message.message_id else "duplicate"


def bury(
    conn: Connection, message: dramatiq.Message[Any], attempt: int, reason: str, error: ErrorTexts
) -> None:
    """Store a dead job that can be retried, with its last error as an attempt."""
    where: dict[str, Any] = {
        "message_id": message.message_id,
        "generation": 0,
        "attempt": attempt,
        "queue": message.queue_name,
        "actor": message.actor_name,
        "reason": f"{reason}: {error.error}" if error.error not in (None, reason) else reason,
    }
    dead_jobs.add_dead_job(
        conn, **where, body=encode_message(message), error_class=error.error_class
    )
    attempts.record_attempt(conn, **where, outcome="dead", error=error)


def bury_unreadable(conn: Connection, one: Delivery, error: Exception) -> Fate:
    """Store a message that is no job here as it came, with the reason."""
    dead_jobs.add_dead_job(
        conn,
        message_id=one.message_id,
        generation=0,
        attempt=0,
        queue=one.queue,
        actor=None,
        body=one.body,
        reason=str(error).strip(),
        error=error,
    )
    return "refused"


def read_traceback(text: str | None) -> ErrorTexts:
    """Return the error that a traceback ends with; its text may have several lines."""
    lines = (text or "").strip().splitlines()
    # The error begins after the last line of the stack, which is indented.
    start = max((n for n, line in enumerate(lines) if line.startswith(" ")), default=-1) + 1
    said = "\n".join(lines[start:])
    if not said:
        return ErrorTexts()
    name, _, error = said.partition(": ")
    return ErrorTexts(name.rpartition(".")[2], error or name, text)
