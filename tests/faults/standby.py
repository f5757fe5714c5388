"""A PostgreSQL replica that lags behind."""

import contextlib
import subprocess
from collections.abc import Generator

from workshed.devserver.account import server_account
from workshed.devserver.postgres import PASSWORD_NOTE, PostgreSQLServer
from workshed.devserver.state import lock_temporary_folder


class Standby(PostgreSQLServer):
    """Follows another server, and shows each commit later by its lag."""

    lag_ms = 0

    def command(self) -> list[str]:
        """Add the lag to the command."""
        return [*super().command(), f"--recovery_min_apply_delay={self.lag_ms}ms"]


@contextlib.contextmanager
def standby(primary: PostgreSQLServer, lag_ms: int = 0) -> Generator[Standby]:
    """Run a replica for the duration of the block."""
    with lock_temporary_folder() as state:
        state.write_notes(**{PASSWORD_NOTE: primary.password})
        replica = Standby(state)
        replica.lag_ms = lag_ms
        copy_data(primary, replica)
        replica.start()
        try:
            yield replica
        finally:
            replica.stop()


def copy_data(primary: PostgreSQLServer, replica: PostgreSQLServer) -> None:
    """Make a server that is down a replica of another one, with a copy of its data."""
    words = [primary.binaries / "pg_basebackup", "--dbname", primary.url, "--write-recovery-conf"]
    subprocess.run(
        [*words, "--pgdata", replica.data, "--checkpoint", "fast"],
        env=primary.environment(),
        check=True,
    )
    for path in (replica.data, *replica.data.rglob("*")):
        server_account().make_owner(path)
