"""The fence against copies: per message the highest hop whose outcome is written."""

from workshed.db import Connection


def is_settled(conn: Connection, message_id: str, hop: int) -> bool:
    """Tell whether this hop, or a later one, has its outcome already."""
    query = "SELECT hop >= %s FROM jobs.settled WHERE message_id = %s"
    found = conn.execute(query, (hop, message_id)).fetchone()
    return found is not None and bool(found[0])


def settle(conn: Connection, message_id: str, hop: int) -> bool:
    """Claim the outcome of this hop; False when a copy of it has written one.

    Holds the row's lock until the transaction ends, so of two copies that end at once the second
    waits here for what the first commits.
    """
    query = """
        INSERT INTO jobs.settled (message_id, hop) VALUES (%s, %s)
        ON CONFLICT (message_id) DO UPDATE
           SET hop = EXCLUDED.hop, settled_at = jobs.now()
         WHERE settled.hop < EXCLUDED.hop
    """
    return conn.execute(query, (message_id, hop)).rowcount > 0
