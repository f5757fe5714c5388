"""Check PostgreSQL: reachable, supported version, migrated, enough connections."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg

from workshed import migrate
from workshed.console.doctor.context import DoctorContext
from workshed.console.operations.finding import (
    LARGEST_SKEW,
    Finding,
    clock_skew,
    failed,
    ok,
    warning,
)
from workshed.errors import MigrationError, PoolerModeError, SettingsError

OLDEST = 15
NEWEST = 18
OUTSIDE_POOL = 2
"""Connections of a worker outside its pool: one for the flags, one for rows it sends."""
RELAY_CONNECTIONS = 3
"""Connections of a relay: for its work, its heartbeat and its duties. An application's relay tasks
use one more."""
SPARE_CONNECTIONS = 20
"""For the application, and for people with a console."""


def check_reachable(here: DoctorContext) -> Iterator[Finding]:
    """Connect to PostgreSQL."""
    try:
        here.connect().close()
    except PoolerModeError as err:
        yield failed(str(err), "export WORKSHED_DATABASE_URL=postgresql://…")
    except psycopg.OperationalError as err:
        words = " ".join(str(err).split())
        said = f"PostgreSQL does not answer at {here.database_address}: {words}"
        yield failed(said, "start it, or export WORKSHED_DATABASE_URL=postgresql://…")
    else:
        yield ok(f"answers at {here.database_address}")


def check_version(here: DoctorContext) -> Iterator[Finding]:
    """Check its version, and compare its clock with ours."""
    with here.connect() as conn:
        found = conn.info.server_version // 10_000
        row = conn.execute("SELECT clock_timestamp()").fetchone()
        skew = abs(datetime.now(UTC) - row[0]) if row else timedelta()
    if found < OLDEST:
        said = f"PostgreSQL {found}: {OLDEST} to {NEWEST} are supported"
        yield failed(said, f"upgrade it to PostgreSQL {NEWEST}")
    elif found > NEWEST:
        yield warning(
            f"PostgreSQL {found} is untested", "upgrade Workshed, or report that it works"
        )
    else:
        yield ok(f"PostgreSQL {found}")
    if skew > LARGEST_SKEW:
        yield clock_skew(skew)


def check_migrations(here: DoctorContext) -> Iterator[Finding]:
    """Compare the schema with this release."""
    with here.connect() as conn:
        applied = [row.stream for row in migrate.list_applied(conn)]
        for stream in dict.fromkeys((migrate.OWN_STREAM, *here.app.migrations)):
            yield check_stream(conn, stream, applied.count(stream))
        yield from check_search_path(conn)


def check_search_path(conn: psycopg.Connection[tuple[object, ...]]) -> Iterator[Finding]:
    """Warn if a table name without a schema may mean one of Workshed's, as for role `workshed`."""
    row = conn.execute("SELECT 'workshed' = ANY (current_schemas(false)), current_user").fetchone()
    if row is not None and row[0]:
        yield warning(
            f"the search_path of {row[1]} includes the schema workshed: a table name without a "
            "schema may mean one of Workshed's",
            f"connect as another role, or: ALTER ROLE {row[1]} SET search_path = public",
        )


def check_stream(
    conn: psycopg.Connection[tuple[object, ...]], stream: str, applied: int
) -> Finding:
    """Check one stream of migrations."""
    try:
        missing = migrate.list_pending(conn, (stream,))
    except MigrationError as err:
        return failed(str(err), "install the release that the database was migrated with")
    except SettingsError as err:
        return failed(str(err), "correct `migrations` of your App")
    if not missing:
        newer = applied - len(list(migrate.list_migrations((stream,))))
        return (
            warning(f"{stream}: {newer} more than this release knows", "upgrade Workshed here")
            if newer
            else ok(f"{stream}: all {applied} applied")
        )
    said = f"{stream}: {len(missing)} missing, the first is {missing[0].name}"
    return failed(said, "workshed migrate")


def check_connections(here: DoctorContext) -> Iterator[Finding]:
    """Compare the pool size with the threads, and all pools with the server's max_connections."""
    pool, threads = here.settings.pool_size, here.threads
    if pool < threads:
        said = f"{threads} threads share {pool} connections, so jobs wait for a connection"
        yield warning(said, f"export WORKSHED_POOL_SIZE={threads}")
    query = """
        SELECT current_setting('max_connections')::int
             - current_setting('superuser_reserved_connections')::int
    """
    with here.connect() as conn:
        row = conn.execute(query).fetchone()
    most = int(row[0]) if row else 0
    each = pool + OUTSIDE_POOL
    relay = RELAY_CONNECTIONS + bool(here.app.relay_tasks)
    wanted = here.processes * each + relay
    said = f"workers and a relay may open {wanted} of {most} connections"
    if wanted > most:
        need = f"ALTER SYSTEM SET max_connections = {wanted + SPARE_CONNECTIONS}"
        yield warning(
            f"{said} ({here.processes} * {each} + {relay})", f'psql -c "{need}"  (restart it)'
        )
    else:
        yield ok(f"{said} ({here.processes} * {each} + {relay})")
