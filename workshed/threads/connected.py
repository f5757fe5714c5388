"""A thread that works on its own connection to PostgreSQL."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from workshed import db
from workshed.database.postgres import Connection
from workshed.errors import DatabaseUnreachableError
from workshed.threads.background import BackgroundThread

logger = logging.getLogger(__name__)


@dataclass(eq=False, repr=False)
class ConnectedThread(BackgroundThread):
    """A background thread whose work gets a connection, not the pool's; an error replaces it."""

    on_connect: Callable[[Connection], object] = lambda _: None
    """Prepares each new connection."""

    @contextmanager
    def _open_arguments(self) -> Generator[tuple[Connection]]:
        with db.limited_wait(), db.connect() as conn:
            self.on_connect(conn)
            yield (conn,)

    def log_error(self, error: Exception, pause_s: float) -> None:
        """Log an error; the one of a server that does not answer needs no traceback."""
        if isinstance(error, (*db.TRANSIENT_ERRORS, DatabaseUnreachableError)):
            logger.warning("%s: %s; trying again in %.2g s", self.name, str(error).strip(), pause_s)
        else:
            super().log_error(error, pause_s)
