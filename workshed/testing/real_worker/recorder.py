"""Records the messages in flight in mode `real`, in the test's process and in the worker."""

import dramatiq
from dramatiq.broker import Broker

from workshed import db
from workshed.db import Connection
from workshed.middleware import Job, Observer, Outcome
from workshed.testing.crashes.crash_worker import CrashingWorker
from workshed.transport.publishing.outgoing import Message


class RunRecorder(Observer):
    """Records each message that is published to RabbitMQ, and each that has its outcome.

    RabbitMQ does not immediately report which messages a worker has. Messages that a relay
    publishes are recorded by a trigger of the schedule, in the transaction that claims them.
    """

    def __init__(self, actors: dict[str, dramatiq.Actor[..., object]]) -> None:
        self._actors = actors

    def after_enqueue(self, broker: Broker, message: Message, delay: int | None) -> None:  # noqa: ARG002
        """Record a message that was published, not stored."""
        if delay is None and db.joined_connection() is None:
            record_message_state(
                message.message_id, int(message.options.get("generation", 0)), ended=False
            )

    def on_start(self, job: Job) -> None:
        """Prepare this process to crash in the job, if a test asks for it."""
        query = "SELECT place FROM workshed.crashes WHERE actor = %s"
        with db.transaction() as conn:
            found = conn.execute(query, (job.actor,)).fetchone()
        if found:
            actor = self._actors[job.actor]
            actor.fn = CrashingWorker(job.actor, found[0]).wrap(actor.fn)

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:  # noqa: ARG002 -- any outcome counts
        """Record that a message has its outcome."""
        record_message_state(job.message_id, job.generation, ended=True)


def record_message_state(message_id: str, generation: int, *, ended: bool) -> None:
    """Record immediately that a message is in flight, or has its outcome."""
    query = """
        INSERT INTO workshed.travels AS known (message_id, generation, ended) VALUES (%s, %s, %s)
        ON CONFLICT (message_id, generation) DO UPDATE SET ended = known.ended OR EXCLUDED.ended
    """
    with db.separate_transaction() as conn:
        conn.execute(query, (message_id, generation, ended))


def list_unfinished_ids(conn: Connection) -> list[str]:
    """Return the ids of the messages that are due, in flight, or running."""
    query = """
        SELECT message_id FROM workshed.travels WHERE NOT ended
        UNION
        SELECT message_id
          FROM workshed.schedule
         WHERE sent_at IS NULL
           AND (claimed_by IS NOT NULL OR (due_at <= workshed.now() AND reason <> 'outbox_lease'))
    """
    return [message_id for (message_id,) in conn.execute(query)]


def list_waiting_ids(conn: Connection) -> list[str]:
    """Do as `list_unfinished_ids` where each job is a row until it has its outcome."""
    query = """
        SELECT message_id
          FROM workshed.schedule
         WHERE claimed_by IS NOT NULL OR due_at <= workshed.now()
    """
    return [message_id for (message_id,) in conn.execute(query)]


def release_killed_jobs(conn: Connection) -> None:
    """Release the jobs of a worker that was killed, as other workers would after ten seconds."""
    conn.execute("""
        UPDATE workshed.schedule
           SET claimed_by = NULL, claimed_at = NULL, possible_duplicate = true
         WHERE claimed_by IS NOT NULL
    """)
