"""Two servers of PostgreSQL: one replicates the other synchronously, and takes its place."""

import contextlib
import shutil
from collections.abc import Callable, Generator
from typing import Any, LiteralString
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.faults.standby import copy_data, standby
from workshed.devserver.postgres import PostgreSQLServer

IS_REPLICATED = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync'"
RELOAD = "SELECT pg_reload_conf()"


class Replicated:
    """A primary and its synchronous replica; `fail_over` swaps their roles."""

    def __init__(
        self, primary: PostgreSQLServer, replica: PostgreSQLServer, wait: Callable[..., object]
    ) -> None:
        """Take the servers, and the function `eventually`."""
        self.primary = primary
        self.replica = replica
        self._servers = (primary, replica)
        self._wait = wait
        self._replicate()

    def url(self, database: str) -> str:
        """Return the URL that names both servers, and leads to the primary, even to a fenced one.

        With `read-write` no connection would lead to a fenced primary, and few statements would be
        refused.
        """
        parts = urlsplit(self._servers[0].url)
        login = parts.netloc.rpartition("@")[0]
        hosts = ",".join(urlsplit(server.url).netloc.rpartition("@")[2] for server in self._servers)
        primary = {"path": f"/{database}", "query": "target_session_attrs=primary"}
        return urlunsplit(parts._replace(netloc=f"{login}@{hosts}", **primary))

    def fence(self) -> None:
        """Refuse writes from now on, as before a planned switchover."""
        _set(self.primary, "ALTER SYSTEM SET default_transaction_read_only = on")

    def fail_over(self, end: Callable[[PostgreSQLServer], object]) -> None:
        """End the primary and promote its replica."""
        end(self.primary)
        self.primary, self.replica = self.replica, self.primary
        _execute(self.primary, "SELECT pg_promote()")

    def rejoin(self) -> None:
        """Make the old primary the replica of the new one."""
        shutil.rmtree(self.replica.data)
        copy_data(self.primary, self.replica)
        self.replica.start()
        self._replicate()

    def _replicate(self) -> None:
        """Let each commit wait for the replica. The setting is newer than the replica's copy."""
        _set(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        self._wait(lambda: _execute(self.primary, IS_REPLICATED))


def _set(server: PostgreSQLServer, statement: LiteralString) -> None:
    _execute(server, statement)
    _execute(server, RELOAD)


def _execute(server: PostgreSQLServer, statement: LiteralString) -> Any:
    """Execute a statement on one of the servers, whether it is the primary or not."""
    with psycopg.connect(server.url, autocommit=True) as conn:
        done = conn.execute(statement)
        row = done.fetchone() if done.description else None
        return row and row[0]


@contextlib.contextmanager
def replicated(primary: PostgreSQLServer, wait: Callable[..., object]) -> Generator[Replicated]:
    """Run a replica of a server for the duration of the block."""
    with standby(primary) as replica:
        yield Replicated(primary, replica, wait)
