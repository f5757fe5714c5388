"""Jobs whose outcome cannot be stored: they go to the dead table, as they came."""

import logging

from workshed import db
from workshed.database.postgres import Connection
from workshed.jobs.batches import batches
from workshed.jobs.dead import dead_jobs
from workshed.jobs.outbox import worker_claims
from workshed.jobs.outbox.worker_claims import RowClaim

logger = logging.getLogger(__name__)

REASON = "its outcome could not be stored; the worker's log has the error"


def dead_letter_rejected(conn: Connection, claim: RowClaim) -> None:
    """Move a row to the dead table, or release it if that is refused."""
    query = """
        SELECT queue, actor, body FROM workshed.schedule WHERE message_id = %s AND generation = %s
    """
    try:
        with conn.transaction():
            row = conn.execute(query, (claim.message_id, claim.generation)).fetchone()
            if row is None or not claim.end(conn):
                return
            queue, actor, body = row
            dead_jobs.add_dead_job(
                conn,
                message_id=claim.message_id,
                generation=claim.generation,
                attempt=0,
                queue=queue,
                actor=actor,
                body=body.encode(),
                reason=REASON,
            )
            batches.end_batch_job(conn, claim.message_id, "dead")
    except db.TRANSIENT_ERRORS:
        raise
    except Exception:
        logger.exception("%s cannot be stored as dead; it runs again", claim.message_id)
        worker_claims.release_claimed(conn, [claim], started=True)
