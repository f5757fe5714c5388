"""A thread that works on its own connection to PostgreSQL."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.threads.background import BackgroundThread

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class ConnectedThread(BackgroundThread):
    """A background thread whose work gets a connection, which an error replaces.

    It is not of the pool, which has a connection for each thread that runs jobs.
    """

    on_connect: Callable[[Connection], object] = lambda _: None
    """Prepares each new connection."""

    def _repeat_work(self) -> None:
        with db.limited_wait(), db.connect() as conn:
            self.on_connect(conn)
            self._repeat(partial(self.work, conn))

    def log_error(self, error: Exception, pause_s: float) -> None:
        """Log an error; the one of a server that does not answer needs no traceback."""
        if isinstance(error, (*db.TRANSIENT_ERRORS, DatabaseUnreachableError)):
            text = "%s: %s; trying again in %.2g s"
            logger.warning(text, self.name, str(error).strip(), pause_s)
        else:
            super().log_error(error, pause_s)
