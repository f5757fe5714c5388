"""Store the messages of stock dramatiq as jobs, each once.

A key of a message's ID commits together with its job. If RabbitMQ marks a delivery as redelivered
and its key exists, its job was stored before it could be acknowledged, and is not stored again. So
of two messages with one ID, only one may run: dramatiq gives each job its own.
"""

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import dramatiq
import orjson

from workshed import db
from workshed.console.adoption.translation import StockJob, translate
from workshed.database.postgres import Connection
from workshed.errors import DuplicateJobError
from workshed.jobs.dead import dead_jobs
from workshed.jobs.dead.dead_jobs import LONGEST_CLASS
from workshed.jobs.history import attempts
from workshed.jobs.history.attempts import LONGEST_ERROR, LONGEST_TRACEBACK, ErrorTexts
from workshed.jobs.idempotency import once_keys
from workshed.jobs.outbox.schedule import Reason
from workshed.middleware.observability.redaction import secret_values
from workshed.redaction import hide_words
from workshed.transport.consuming_broker import ConsumingBroker
from workshed.transport.messages.envelope import LONGEST_NAME, encode_message
from workshed.value_class import value_class

SCOPE = "workshed.adopt"
"""Scope of the keys of stored messages."""
REFUSALS = (db.errors.DataError, db.errors.IntegrityError)
"""Errors of PostgreSQL that one message of several may cause."""
NUL = "\0"
"""No text of PostgreSQL can hold it."""

Fate = Literal["ready", "delayed", "retried", "dead", "refused", "duplicate"]
"""What became of a message. `refused`: it cannot run here, and is in the dead table. `duplicate`:
its job was stored before, or another job has its unique key."""
FATES: dict[Reason, Fate] = {"transactional": "ready", "delayed": "delayed", "retry": "retried"}


@value_class
class AdoptedMessage:
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
        if isinstance(found, str) and 0 < len(found.encode()) <= LONGEST_NAME and NUL not in found:
            return found
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.body.hex()))


class AdoptionStore:
    """Stores deliveries through a broker, which checks them as `send` does."""

    def __init__(self, broker: ConsumingBroker[Any]) -> None:
        """Use a broker whose actors are imported."""
        self._broker = broker
        self._options = {name: actor.options for name, actor in broker.actors.items()}

    def store(self, taken: Sequence[AdoptedMessage]) -> list[Fate]:
        """Store deliveries in one transaction, or one by one if PostgreSQL refuses any.

        Raises one of `db.TRANSIENT_ERRORS`: some may be stored nevertheless, so pass them again as
        redelivered. Raises `psycopg.Error` if none can be stored.
        """
        try:
            return self._store_together(taken)
        except REFUSALS:
            return [self._store_alone(each) for each in taken]

    def _store_together(self, taken: Sequence[AdoptedMessage]) -> list[Fate]:
        with db.transaction() as conn:
            new = once_keys.claim_keys(conn, SCOPE, [each.message_id for each in taken])
            fates: list[Fate] = []
            for each in taken:
                is_known = each.message_id not in new
                new.discard(each.message_id)
                fates.append(self._store_one(conn, each, is_known=is_known))
            return fates

    def _store_alone(self, delivery: AdoptedMessage) -> Fate:
        try:
            [fate] = self._store_together([delivery])
        except REFUSALS as err:
            with db.transaction() as conn:
                once_keys.claim_keys(conn, SCOPE, [delivery.message_id])
                return bury_unreadable(conn, delivery, err)
        return fate

    def _store_one(self, conn: Connection, delivery: AdoptedMessage, *, is_known: bool) -> Fate:
        """Store a delivery; `is_known`: one with its ID was stored before."""
        if is_known and delivery.redelivered:
            return "duplicate"
        try:
            job = translate(delivery.body, delivery.queue, self._options)
        except Exception as err:  # noqa: BLE001 -- anyone may have written the body
            return bury_unreadable(conn, delivery, err)
        message = job.message
        if is_known:  # an application has sent it twice, and it ran twice there
            message = message.copy(message_id=str(uuid.uuid4()))
        if delivery.is_dead:
            self._bury(conn, message, job.attempt, *describe_death(job.traceback))
            return "dead"
        return self._send(conn, message, job)

    def _send(self, conn: Connection, message: dramatiq.Message[Any], job: StockJob) -> Fate:
        try:
            message, statement = self._broker.outbox_statement(
                message, timedelta(), job.due_at, job.reason
            )
        except db.TRANSIENT_ERRORS:
            raise
        except Exception as err:  # noqa: BLE001 -- also what a hook of the application raises
            self._bury(conn, message, job.attempt, str(err), attempts.describe_error(err))
            return "refused"
        stored = conn.execute(*statement)
        row = stored.fetchone() if stored.description else None
        try:
            sent = self._broker.finish_send(message, timedelta(), None if row is None else row[0])
        except DuplicateJobError:
            return "duplicate"
        return FATES[job.reason] if sent.message_id == message.message_id else "duplicate"

    def _bury(
        self,
        conn: Connection,
        message: dramatiq.Message[Any],
        attempt: int,
        reason: str,
        error: ErrorTexts,
    ) -> None:
        """Store a dead job that can be retried, with an error as an attempt.

        The texts came from elsewhere, so the actor's secret arguments may be in them.
        """
        actor = self._broker.actors.get(message.actor_name)
        secrets = () if actor is None else secret_values(actor, message)
        columns: dict[str, Any] = {
            "message_id": message.message_id,
            "generation": 0,
            "attempt": attempt,
            "queue": message.queue_name,
            "actor": message.actor_name,
            "reason": hide_words(reason, secrets),
        }
        body = encode_message(message)
        dead_jobs.add_dead_job(conn, **columns, body=body, error_class=error.error_class)
        shown = ErrorTexts(*(text and hide_words(text, secrets) for text in error))
        attempts.record_attempt(conn, **columns, outcome="dead", error=shown)


def bury_unreadable(conn: Connection, delivery: AdoptedMessage, error: Exception) -> Fate:
    """Store a message that cannot be a job here as it came, with the reason."""
    dead_jobs.add_dead_job(
        conn,
        message_id=delivery.message_id,
        generation=0,
        attempt=0,
        queue=delivery.queue,
        actor=None,
        body=delivery.body,
        reason=str(error).strip(),
        error=error,
    )
    return "refused"


def describe_death(traceback: str | None) -> tuple[str, ErrorTexts]:
    """Return the reason of a message that was dead there, and the error of an earlier attempt."""
    error = read_traceback(traceback)
    if error.error is None:
        return "dead under dramatiq", error
    return f"dead under dramatiq; an earlier attempt: {error.error_class}: {error.error}", error


def read_traceback(text: str | None) -> ErrorTexts:
    """Return the error that a traceback ends with; its text may have several lines."""
    text = attempts.to_storable(text or "").strip()
    lines = text.splitlines()
    # The error begins after the last line of the stack, which is indented.
    start = max((n for n, line in enumerate(lines) if line.startswith(" ")), default=-1) + 1
    said = "\n".join(lines[start:])
    if not said:
        return attempts.NO_ERROR
    name, _, error = said.partition(": ")
    return ErrorTexts(
        name.rpartition(".")[2][:LONGEST_CLASS],
        (error or name)[:LONGEST_ERROR],
        text[-LONGEST_TRACEBACK:],
    )
