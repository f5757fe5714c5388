"""The fence against copies: per message the highest hop whose outcome is written."""

from datetime import timedelta

from workshed.db import Connection


def is_settled(conn: Connection, message_id: str, hop: int) -> bool:
    """Tell whether this hop, or a later one, has its outcome already."""
    query = "SELECT hop >= %s FROM jobs.settled WHERE message_id = %s"
    found = conn.execute(query, (hop, message_id)).fetchone()
    return found is not None and bool(found[0])


def settle(conn: Connection, message_id: str, hop: int) -> bool:
    """Claim the outcome of this hop; False when a copy of it has written one.

    Holds the row's lock until the transaction ends, so of two copies that end at once the second
    waits here for what the first commits. With the outcome go its start, if one was recorded, and
    its rows of the schedule: those kept until now, and those of a sender or relay that did not
    come to delete them.
    """
    query = """
        WITH settled AS (
            INSERT INTO jobs.settled (message_id, hop) VALUES (%(message_id)s, %(hop)s)
            ON CONFLICT (message_id) DO UPDATE
               SET hop = EXCLUDED.hop, settled_at = jobs.now()
             WHERE settled.hop < EXCLUDED.hop
            RETURNING message_id
        ), started AS (
            DELETE FROM jobs.starts USING settled WHERE starts.message_id = settled.message_id
        ), kept AS (
            DELETE FROM jobs.schedule AS s
             USING settled
             WHERE s.message_id = settled.message_id AND s.hop <= %(hop)s
        )
        SELECT count(*) FROM settled
    """
    found = conn.execute(query, {"message_id": message_id, "hop": hop}).fetchone()
    return found is not None and bool(found[0])


def prune(conn: Connection, older_than: timedelta, limit: int) -> int:
    """Delete fences no copy can ask for any more, at most `limit`; return how many."""
    query = """
        DELETE FROM jobs.settled
         WHERE message_id IN (
               SELECT message_id FROM jobs.settled AS s
                WHERE settled_at < jobs.now() - %(older_than)s
                  AND NOT EXISTS (SELECT FROM jobs.schedule WHERE message_id = s.message_id)
                  AND NOT EXISTS (SELECT FROM jobs.dead WHERE message_id = s.message_id)
                LIMIT %(limit)s
                  FOR UPDATE SKIP LOCKED)
    """
    return conn.execute(query, {"older_than": older_than, "limit": limit}).rowcount
