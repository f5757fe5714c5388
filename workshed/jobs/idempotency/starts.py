"""Starts of jobs that may have a copy, which show whether a job kills its worker."""

import json
from collections.abc import Sequence
from datetime import timedelta

from workshed.database.postgres import Connection
from workshed.jobs.tags import CancelTraits
from workshed.pruning import delete_old_rows
from workshed.value_class import value_class

MOST_ISOLATED_STARTS = 2
"""After this many isolated starts without an outcome, a job is considered to kill its worker."""


@value_class
class DeliveryState:
    """What is known of a message before it starts."""

    is_completed: bool
    """This generation, or a later one, has its outcome."""
    cancelled: bool
    rule: int | None
    """The rule that cancels it."""
    started: bool
    """It was started before, as a redelivered job, and that start has no outcome."""
    isolated_starts: int
    """How many of those starts were isolated."""

    @property
    def is_poison(self) -> bool:
        """Whether it has killed its process each time it ran isolated."""
        return self.isolated_starts >= MOST_ISOLATED_STARTS


def load_state(
    conn: Connection, message_id: str, generation: int, traits: CancelTraits
) -> DeliveryState:
    """Read completed generations, cancellations, rules and starts in one query."""
    return load_states(conn, [(message_id, generation, traits)])[0]


def load_states(
    conn: Connection, runs: Sequence[tuple[str, int, CancelTraits]]
) -> list[DeliveryState]:
    """Do as `load_state` for several messages, each with its generation and traits."""
    query = """
        SELECT COALESCE((SELECT c.generation >= j.generation
                           FROM workshed.completed_generations AS c
                          WHERE c.message_id = j.message_id), false),
               EXISTS (SELECT FROM workshed.cancellations AS c
                        WHERE c.message_id = j.message_id),
               workshed.matching_cancel_rule(j.actor, j.queue,
                   ARRAY(SELECT jsonb_array_elements_text(j.tags)), j.sent_ms),
               s.isolated IS NOT NULL,
               COALESCE(s.isolated, 0)
          FROM unnest(%(ids)s::text[], %(generations)s::int[], %(actors)s::text[],
                      %(queues)s::text[], %(tags)s::jsonb[], %(sent_ms)s::bigint[])
               WITH ORDINALITY
               AS j (message_id, generation, actor, queue, tags, sent_ms, place)
          LEFT JOIN LATERAL (
               SELECT isolated
                 FROM workshed.redelivered_starts AS s
                WHERE s.message_id = j.message_id AND s.generation = j.generation
               ) AS s ON true
         -- Always true. PostgreSQL expects one row then, uses indexes, and keeps the plan.
         WHERE j.message_id = j.message_id || ''
         ORDER BY place
    """
    values = {
        "ids": [message_id for message_id, _, _ in runs],
        "generations": [generation for _, generation, _ in runs],
        "actors": [traits.actor for _, _, traits in runs],
        "queues": [traits.queue for _, _, traits in runs],
        "tags": [json.dumps(traits.tags) for _, _, traits in runs],
        "sent_ms": [traits.sent_ms for _, _, traits in runs],
    }
    return [DeliveryState(*row) for row in conn.execute(query, values)]


def record_start(
    conn: Connection, message_id: str, generation: int, *, isolated: bool, host: str, pid: int
) -> None:
    """Record a start; a later generation of the message counts from zero."""
    query = """
        INSERT INTO workshed.redelivered_starts AS s (message_id, generation, isolated, host, pid)
        VALUES (%(message_id)s, %(generation)s, %(isolated)s, %(host)s, %(pid)s)
        ON CONFLICT (message_id) DO UPDATE
           SET isolated = EXCLUDED.isolated + CASE WHEN s.generation = EXCLUDED.generation
          THEN s.isolated ELSE 0 END,
               generation = EXCLUDED.generation, host = EXCLUDED.host, pid = EXCLUDED.pid,
               started_at = workshed.now()
    """
    values = {
        "message_id": message_id,
        "generation": generation,
        "isolated": int(isolated),
        "host": host,
        "pid": pid,
    }
    conn.execute(query, values)


def delete_start(conn: Connection, message_id: str) -> None:
    """Delete the start of a copy if the job's outcome was stored while the copy started.

    Storing an outcome deletes the starts that are committed before it, but this one came later.
    """
    query = """
        DELETE FROM workshed.redelivered_starts AS s USING workshed.completed_generations AS d
         WHERE s.message_id = %s AND d.message_id = s.message_id AND d.generation >= s.generation
    """
    conn.execute(query, (message_id,))


def prune_starts(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete starts of jobs that RabbitMQ has lost, at most `limit`; return how many.

    A copy that arrives after that time goes to the dead table without running.
    """
    return delete_old_rows(conn, "workshed.redelivered_starts", "started_at", older_than, limit)
