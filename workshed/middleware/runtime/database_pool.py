"""Open and close a worker's connection pool."""

import logging

from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed import db

logger = logging.getLogger(__name__)


class DatabasePool(Middleware):
    """Open the pool of connections after the fork, and close it after the last job.

    *Order:* above all middleware that uses it.
    """

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Open the pool, and warn if threads will queue for connections.

        Raises `DatabaseUnreachableError` if PostgreSQL does not answer, and `MigrationError` if its
        schema is older than this release: no outcome could be stored, and each job would end in the
        dead queue.
        """
        from workshed import migrate  # noqa: PLC0415 -- a program that only sends needs none

        with db.connect() as conn:  # its error names the server; the pool's would say "timeout"
            migrate.require_stream(conn, "workshed")
        pool = db.get_pool()
        if pool.max_size < worker.worker_threads:
            logger.warning(
                "%d threads share %d connections; set WORKSHED_POOL_SIZE=%d",
                worker.worker_threads,
                pool.max_size,
                worker.worker_threads,
            )
        pool.open()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Close the pool; no job runs any more. A web process still needs it for its requests."""
        if getattr(broker, "is_embedded", False):
            db.release_claims()
        else:
            db.close_pool()
