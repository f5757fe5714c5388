"""Check everything a worker needs, and report every problem at once.

A check is a function that takes a `DoctorContext` and yields findings, each with its cause and a
fix. It changes nothing. To add a check, add a line to `CHECKS`, or to `TABLE_CHECKS`
for installations without RabbitMQ; an application adds its own with
`workshed.App(checks=…)`.
"""

from datetime import timedelta

from workshed.console.doctor import (
    actors,
    encryption,
    environment,
    jobs,
    metrics_folder,
    permissions,
    pooler,
    postgresql,
    queues,
    rabbitmq,
    sentry,
    signing,
    table_queue,
    time_limits,
    versions,
    workers,
)
from workshed.console.doctor.application import load_application_checks
from workshed.console.doctor.context import DoctorContext
from workshed.console.doctor.run import Check, run_checks
from workshed.console.operations.finding import Finding, Level
from workshed.transport.build import POSTGRESQL_URL

__all__ = [
    "CHECKS",
    "Check",
    "DoctorContext",
    "Finding",
    "Level",
    "build_context",
    "list_checks",
    "run_checks",
]

DATABASE = ("PostgreSQL",)
MIGRATIONS = ("migrations",)
BROKER = ("RabbitMQ",)
ACTORS = ("actors",)

CHECKS = (
    Check("environment", environment.check_environment),
    Check("versions", versions.check_versions),
    Check("actors", actors.check_actors, needs=("environment",)),
    Check("time limits", time_limits.check_time_limits, needs=ACTORS),
    Check("shutdown", time_limits.check_shutdown, reads=("shutdown_grace",)),
    Check("PostgreSQL", postgresql.check_reachable, reads=("database_url",)),
    Check("PostgreSQL version", postgresql.check_version, needs=DATABASE),
    Check("PostgreSQL TLS", encryption.check_postgresql_tls, reads=("database_url",)),
    Check("pooler", pooler.check_pooler, needs=DATABASE),
    Check("migrations", postgresql.check_migrations, needs=DATABASE),
    Check("connections", postgresql.check_connections, needs=DATABASE, reads=("pool_size",)),
    Check("relay", jobs.check_relay, needs=MIGRATIONS),
    Check("periodic jobs", jobs.check_periodic, needs=MIGRATIONS),
    Check("dead jobs", jobs.check_dead_jobs, needs=MIGRATIONS),
    Check("once", jobs.check_once, needs=MIGRATIONS),
    Check("retention", jobs.check_retention, needs=MIGRATIONS),
    Check("paused queues", queues.check_paused, needs=MIGRATIONS),
    Check("RabbitMQ", rabbitmq.check_reachable, reads=("broker_url",)),
    Check("RabbitMQ version", rabbitmq.check_version, needs=BROKER),
    Check("RabbitMQ TLS", encryption.check_amqp_tls, reads=("broker_url",)),
    Check("signing", signing.check_signing, reads=("signing_keys", "signing")),
    Check("management", rabbitmq.check_management, needs=BROKER, reads=("management_url",)),
    Check("management TLS", encryption.check_management_tls, reads=("management_url",)),
    Check("alarms", rabbitmq.check_alarms, needs=BROKER),
    # After the actors, because their modules may declare queues.
    Check("queues", queues.check_declared, needs=BROKER, after=ACTORS),
    Check("workers", workers.check_workers, needs=BROKER, after=ACTORS),
    Check("permissions", permissions.check_permissions, needs=BROKER, after=ACTORS),
    Check("dead queues", queues.check_dead_queues, needs=BROKER, after=ACTORS),
    Check("Sentry", sentry.check_sentry, reads=("sentry_dsn",)),
    Check("metrics", metrics_folder.check_metrics_folder, reads=("metrics",)),
)

ONLY_RABBITMQ = frozenset(
    [
        "RabbitMQ",
        "RabbitMQ version",
        "RabbitMQ TLS",
        "signing",
        "management",
        "management TLS",
        "alarms",
        "queues",
        "permissions",
        "dead queues",
    ]
)
"""Checks that mean nothing without RabbitMQ."""
TABLE_CHECKS = (
    Check("relay", table_queue.check_relay, needs=MIGRATIONS),
    Check("workers", table_queue.check_workers, needs=MIGRATIONS, after=ACTORS),
    Check("vacuum", table_queue.check_vacuum, needs=MIGRATIONS),
    Check("transactions", table_queue.check_transactions, needs=MIGRATIONS),
    Check("load", table_queue.check_load, needs=MIGRATIONS, reads=("history",)),
)
"""Checks of the schedule as the queue, instead of those in `CHECKS` with the same names."""


def list_checks(here: DoctorContext) -> tuple[Check, ...]:
    """Return Workshed's checks and the application's; one that cannot be loaded fails."""
    checks = choose_table_checks() if POSTGRESQL_URL in here.urls else CHECKS
    return (*checks, *load_application_checks(here.app.checks, {check.name for check in checks}))


def choose_table_checks() -> tuple[Check, ...]:
    """Return the checks of an installation without RabbitMQ."""
    others = ONLY_RABBITMQ | {check.name for check in TABLE_CHECKS}
    return (*(check for check in CHECKS if check.name not in others), *TABLE_CHECKS)


def build_context(
    packages: tuple[str, ...],
    processes: int,
    threads: int,
    stop_within: timedelta | None = None,
    consumed: tuple[str, ...] = (),
) -> DoctorContext:
    """Read the environment, as far as it can be read."""
    return DoctorContext(
        *environment.read_environment(), packages, processes, threads, consumed, stop_within
    )
