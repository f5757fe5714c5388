"""Check the schedule as the queue of an installation without RabbitMQ."""

from collections.abc import Iterator
from datetime import timedelta

from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.workers import list_actor_queues
from workshed.console.formatting import format_ago, format_duration
from workshed.console.operations import problems
from workshed.console.operations.finding import Finding, failed, ok, unchecked, warning
from workshed.database.postgres import database_now
from workshed.jobs.control import workers
from workshed.jobs.history import throughput
from workshed.jobs.history.throughput import WINDOWS
from workshed.jobs.outbox import depths, relays, table_load
from workshed.jobs.outbox.table_load import MOST_PER_SECOND

LATE = timedelta(seconds=10)
MOST_DEAD_ROWS = 250_000
"""At 500 jobs/s, a minute between two runs of autovacuum leaves 60 000: two per job."""
LONG_TRANSACTION = timedelta(minutes=10)
MOVE_UP = "set WORKSHED_BROKER_URL to the URL of a RabbitMQ; see docs/without-rabbitmq.md"
MIB = 1 << 20


def check_relay(here: DoctorContext) -> Iterator[Finding]:
    """Check that a relay is running."""
    with here.connect() as conn:
        beat = relays.last_beat_age(conn)
    yield problems.judge_relay(beat, publishes=False) or ok("a relay is running")


def check_workers(here: DoctorContext) -> Iterator[Finding]:
    """Check that a worker consumes each queue that has jobs or actors, and keeps up."""
    with here.connect() as conn:
        rows, consumers = depths.count_rows_by_queue(conn), workers.count_consumers(conn)
        ages = workers.waiting_ages(conn)
    start = " ".join(("workshed worker", *(here.packages or ("PACKAGE",))))
    full = {name: one.due for name, one in rows.items() if one.due and name not in consumers}
    empty = sorted(list_actor_queues(here) - consumers.keys() - full.keys())
    late = {
        name: waited
        for name, (_, waited) in ages.items()
        if waited is not None and waited > LATE and name in consumers
    }
    if full:
        said = ", ".join(f"{name} ({due} ready)" for name, due in sorted(full.items()))
        yield failed(f"no worker consumes {said}: jobs wait", start)
    if empty:
        yield warning(f"no worker consumes {', '.join(empty)} (no jobs wait there)", start)
    if late:
        said = ", ".join(f"{name} for {format_duration(age)}" for name, age in late.items())
        yield warning(f"the oldest job waits: {said}", "workshed queues  (start more workers)")
    if not (full or empty or late):
        yield ok("a worker consumes each queue that has jobs or actors, and none is behind")


def check_vacuum(here: DoctorContext) -> Iterator[Finding]:
    """Check that autovacuum keeps up with the jobs that end."""
    with here.connect() as conn:
        found, now = table_load.read_statistics(conn), database_now(conn)
    size = f"{found.table_bytes // MIB} MiB, its indexes {found.index_bytes // MIB} MiB"
    said = f"workshed.schedule has {found.dead_rows} dead rows; the table has {size}"
    if not found.is_vacuumed:
        yield failed(
            "autovacuum is off for workshed.schedule: each job leaves dead rows, which slow claims",
            "set autovacuum and track_counts to on, and: "
            "ALTER TABLE workshed.schedule RESET (autovacuum_enabled)",
        )
    elif found.dead_rows > MOST_DEAD_ROWS:
        last = found.last_autovacuum
        when = "it has not run yet" if last is None else f"it last ended {format_ago(last, now)}"
        yield warning(
            f"{said}: autovacuum does not keep up; {when}", "psql -c 'VACUUM workshed.schedule'"
        )
    else:
        yield ok(said)


def check_transactions(here: DoctorContext) -> Iterator[Finding]:
    """Look for old transactions, since vacuum removes no row that one of them may still see."""
    with here.connect() as conn:
        found = table_load.list_vacuum_blockers(conn, LONG_TRANSACTION)
        sees_all = table_load.may_see_sessions(conn)
    for one in found:
        since = "" if one.age is None else f" for {format_duration(one.age)}"
        said = f"{one.name} has held back vacuum{since}: dead rows stay"
        yield warning(said, f'psql -c "{one.end_command}"  (or end its program)')
    if not found:
        yield ok(f"no transaction has been open for {format_duration(LONG_TRANSACTION)}")
    if not sees_all:
        role = "the user of WORKSHED_DATABASE_URL"
        yield unchecked(
            f"the sessions of other roles: {role} does not see their transactions",
            "GRANT pg_read_all_stats TO USER  (as a superuser)",
        )


def check_load(here: DoctorContext) -> Iterator[Finding]:
    """Compare the rate at which jobs end with what PostgreSQL alone is for."""
    if here.settings.history == "none":
        yield unchecked(
            "jobs per second, because WORKSHED_HISTORY=none counts no runs",
            "look at the metric workshed_schedule_ended_per_second",
        )
        return
    window = WINDOWS[0]
    with here.connect() as conn:
        found = throughput.measure_throughput(conn, window, database_now(conn))
    rate = found.per_minute / 60
    said = f"{rate:.0f} jobs/s in the {window.title}"
    if rate > MOST_PER_SECOND:
        yield warning(f"{said}, more than {MOST_PER_SECOND}: RabbitMQ is the better queue", MOVE_UP)
    else:
        yield ok(f"{said}; up to about {MOST_PER_SECOND}, PostgreSQL alone is enough")
