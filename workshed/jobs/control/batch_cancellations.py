"""The waiting jobs of cancelled batches, whose rows are deleted a few at a time."""

from workshed.database.postgres import Connection
from workshed.jobs.control import cancellations


def cancel_waiting_jobs(conn: Connection, limit: int, batch: str | None = None) -> list[str]:
    """Cancel jobs of cancelled batches that still wait or are not marked yet; return their IDs.

    Each in its own transaction, so `conn` must be in autocommit. Also finds jobs that were about to
    be stored or put back when their batch was cancelled.
    """
    query = """
        SELECT j.message_id
          FROM workshed.batches AS b
          JOIN workshed.batch_jobs AS j ON j.batch_id = b.id AND j.state = 'pending'
         WHERE b.cancelled_at IS NOT NULL AND b.completed_at IS NULL
           AND (%(batch)s::uuid IS NULL OR b.id = %(batch)s::uuid)
           AND (NOT EXISTS (SELECT FROM workshed.cancellations AS t
                             WHERE t.message_id = j.message_id AND t.may_be_delivered)
                OR EXISTS (SELECT FROM workshed.schedule AS s
                            WHERE s.message_id = j.message_id
                              AND s.claimed_by IS NULL AND s.sent_at IS NULL
                              AND NOT s.possible_duplicate))
         LIMIT %(limit)s
    """
    ids = [found for (found,) in conn.execute(query, {"batch": batch, "limit": limit})]
    for message_id in ids:
        with conn.transaction():
            cancellations.cancel(conn, message_id)
    return ids
