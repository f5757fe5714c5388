"""Check everything a worker needs, and report every problem at once.

A check is a function that takes a `DoctorContext` and yields findings, each with its cause and a
fix. It changes nothing. To add a check, add a line to `CHECKS`; an application adds its own with
`workshed.App(checks=…)`.
"""

from datetime import timedelta

from workshed.console.doctor import (
    actors,
    encryption,
    environment,
    jobs,
    measuring,
    permissions,
    pooler,
    postgresql,
    queues,
    rabbitmq,
    sentry,
    signing,
    timeouts,
    versions,
    workers,
)
from workshed.console.doctor.application import application_checks
from workshed.console.doctor.run import Check, examine
from workshed.console.doctor.surroundings import DoctorContext
from workshed.console.operations.finding import Finding, Level

__all__ = [
    "CHECKS",
    "Check",
    "DoctorContext",
    "Finding",
    "Level",
    "all_checks",
    "examine",
    "look_around",
]

DATABASE = ("PostgreSQL",)
MIGRATED = ("migrations",)
BROKER = ("RabbitMQ",)
ACTORS = ("actors",)

CHECKS = (
    Check("environment", environment.check),
    Check("versions", versions.check),
    Check("actors", actors.check, needs=("environment",)),
    Check("time limits", timeouts.limits, needs=ACTORS),
    Check("shutdown", timeouts.shutdown, reads=("shutdown_grace",)),
    Check("PostgreSQL", postgresql.reachable, reads=("database_url",)),
    Check("PostgreSQL version", postgresql.version, needs=DATABASE),
    Check("PostgreSQL TLS", encryption.postgresql, reads=("database_url",)),
    Check("pooler", pooler.check, needs=DATABASE),
    Check("migrations", postgresql.migrations, needs=DATABASE),
    Check("connections", postgresql.connections, needs=DATABASE, reads=("pool_size",)),
    Check("relay", jobs.relay, needs=MIGRATED),
    Check("periodic jobs", jobs.periodic, needs=MIGRATED),
    Check("dead jobs", jobs.died, needs=MIGRATED),
    Check("retention", jobs.expired, needs=MIGRATED),
    Check("paused queues", queues.paused, needs=MIGRATED),
    Check("RabbitMQ", rabbitmq.reachable, reads=("broker_url",)),
    Check("RabbitMQ version", rabbitmq.version, needs=BROKER),
    Check("RabbitMQ TLS", encryption.rabbitmq, reads=("broker_url",)),
    Check("signing", signing.check, reads=("signing_keys", "signing")),
    Check("management", rabbitmq.management, needs=BROKER, reads=("management_url",)),
    Check("management TLS", encryption.management, reads=("management_url",)),
    Check("alarms", rabbitmq.alarms, needs=BROKER),
    # After the actors, because their modules may declare queues.
    Check("queues", queues.declared, needs=BROKER, after=ACTORS),
    Check("workers", workers.check, needs=BROKER, after=ACTORS),
    Check("permissions", permissions.check, needs=BROKER, after=ACTORS),
    Check("dead queues", queues.dead, needs=BROKER, after=ACTORS),
    Check("Sentry", sentry.check, reads=("sentry_dsn",)),
    Check("metrics", measuring.check, reads=("metrics",)),
)


def all_checks(here: DoctorContext) -> tuple[Check, ...]:
    """Return Workshed's checks and the application's; one that cannot be loaded fails."""
    return (*CHECKS, *application_checks(here.app.checks, {check.name for check in CHECKS}))


def look_around(
    packages: tuple[str, ...],
    processes: int,
    threads: int,
    stop_within: timedelta | None = None,
    consumed: tuple[str, ...] = (),
) -> DoctorContext:
    """Read the environment, as far as it can be read."""
    return DoctorContext(*environment.read(), packages, processes, threads, consumed, stop_within)
