"""Run actors on a schedule, and answer the clocks that ask for it."""

import functools
import importlib
import logging
import time
from datetime import datetime
from math import inf
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed import db
from workshed.cronspec import PeriodicSchedule
from workshed.database.postgres import Connection
from workshed.errors import MigrationError
from workshed.health.status import ProcessStatus
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import REPORT_EVERY, PeriodicDeclaration
from workshed.metrics import meters
from workshed.middleware.concurrency.uniqueness import Uniqueness
from workshed.middleware.delivery.cancellation import Cancellation
from workshed.middleware.options.signatures import read_signature
from workshed.middleware.periodic.periodiq_spec import PeriodiqSpec
from workshed.threads.background import BackgroundThread

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
"""Exit code of a clock whose database lacks migrations; workers use `workshed.transport.errors`."""
PAUSE_S = 5.0
"""How long PostgreSQL is left alone after an outage, because a clock has other jobs."""


class Periodic(Middleware):
    """Run an actor on a schedule, for example `periodic=daily("09:00", tz="Europe/Paris")`.

    Workers and clocks declare their periodic jobs in PostgreSQL when they start, and workers
    confirm them every minute. A clock (`periodiq actors`) never publishes: it stores the run and
    its message in one transaction. Any number of clocks therefore create each run once, and a relay
    creates the runs that every clock missed.

    *Order:* below middleware that adds options to messages, because the process that creates a run
    does not know the actors. *Options:* `periodic=` (`daily`, `cron` or `every` of `workshed`);
    `needs=` (a stream of migrations; the job has no runs until it is applied).
    """

    def __init__(self) -> None:
        self._broker: Broker | None = None
        self._thread: BackgroundThread | None = None
        self._checked_at = inf
        self._declared_names: set[str] = set()
        self._declare_at = 0.0
        self._paused_until = 0.0

    @property
    def actor_options(self) -> set[str]:
        """The schedule of an actor, and the migrations that it needs."""
        return {"periodic", "needs"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse an actor that could not run on its schedule."""
        self._broker = broker
        if (needs := actor.options.get("needs")) is not None:
            _check_stream(actor.actor_name, needs)
        spec = actor.options.get("periodic")
        if spec is None or isinstance(spec, PeriodiqSpec):
            return
        if type(spec).__module__.partition(".")[0] == "periodiq":
            raise ValueError(
                f"{actor.actor_name}: periodic={spec!r} is of periodiq, which never fires on "
                "Sundays and misses runs; use periodic=cron(…) or daily(…) of workshed"
            )
        if not isinstance(spec, PeriodicSchedule):
            raise ValueError(  # noqa: TRY004 -- as for every option
                f"{actor.actor_name}: periodic={spec!r}: use daily(…), cron(…) or every(…) of "
                "workshed"
            )
        try:
            read_signature(actor.fn).bind()
        except TypeError as err:
            raise ValueError(
                f"{actor.actor_name}: periodic= runs it without arguments: {err}"
            ) from None
        rule = actor.options.get("unique")
        if callable(getattr(rule, "key", None)):
            raise ValueError(  # noqa: TRY004 -- as for every option
                f"{actor.actor_name}: periodic= and a function as key of unique=: a relay also "
                "creates runs, and cannot call the function; leave the key out"
            )
        make = functools.partial(self.create_run, actor.actor_name, spec)
        actor.options["periodic"] = PeriodiqSpec(spec, self._on_tick, make)
        self._declare_at = 0.0

    def jobs(self, broker: Broker, conn: Connection) -> list[PeriodicDeclaration]:
        """Return the program's periodic jobs whose tables exist in the database."""
        from workshed import migrate  # noqa: PLC0415 -- a program that only sends needs none

        streams = migrate.list_streams()
        lacks = {stream for stream in streams if migrate.list_pending(conn, (stream,))}
        return [
            PeriodicDeclaration(
                actor.actor_name,
                actor.queue_name,
                actor.options["periodic"].spec,
                default_options(broker, actor),
            )
            for actor in periodic_actors(broker)
            if actor.options.get("needs") not in lacks
        ]

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Declare the jobs of this release, and confirm them from now on."""
        if not periodic_actors(broker):
            return
        with db.transaction() as conn:
            self._declared_names = self._declare_missing(conn, broker, set())
        names = {actor.actor_name for actor in periodic_actors(broker)}
        if lacking := names - self._declared_names:
            logger.info("%s: not run until their tables exist", ", ".join(sorted(lacking)))
        every_s = REPORT_EVERY.total_seconds()
        self._thread = BackgroundThread(
            "periodic",
            functools.partial(self._confirm_jobs, broker),
            every_s,
            delay_s=every_s,
            retry_s=(PAUSE_S, PAUSE_S),
            report=self._report,
        )
        self._thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop confirming."""
        if self._thread is not None:
            self._thread.stop()

    def status(self) -> ProcessStatus:
        """Return the status of this clock at its last check."""
        troubles = []
        if self._is_paused:
            troubles.append("PostgreSQL does not answer")
        elif not self._declare_at:
            troubles.append("its jobs are not declared yet")
        return ProcessStatus("clock", problems=troubles, at=self._checked_at)

    def create_run(self, name: str, spec: PeriodicSchedule, scheduled_for: datetime) -> None:
        """Create the run of a job for its scheduled time.

        Never raises, because any error would end `periodiq` and with it all other jobs.
        """
        try:
            self._create_run(name, spec, scheduled_for)
        except db.TRANSIENT_ERRORS as err:
            self._paused_until = time.monotonic() + PAUSE_S
            logger.warning(
                "a run of %s is left to a relay after an error: %s", name, str(err).strip()
            )
        except Exception:
            logger.exception("this clock could not create a run of %s", name)

    def _create_run(self, name: str, spec: PeriodicSchedule, scheduled_for: datetime) -> None:
        if self._is_paused:
            logger.info("a run of %s is left to a relay", name)
            return
        with db.transaction() as conn:
            reason = periodic_jobs.skip_reason(conn, name, spec, scheduled_for)
            made = None if reason else periodic_runs.create_run(conn, name, scheduled_for, "clock")
        if reason:
            logger.info("%s, planned for %s, is not created: %s", name, scheduled_for, reason)
        elif made is None:
            logger.info("%s, planned for %s, was created by another process", name, scheduled_for)
        elif made.message_id is None:
            logger.warning(
                "%s, planned for %s, is not sent: job %s holds its unique key",
                name,
                scheduled_for,
                made.blocked_by,
            )
        else:
            logger.info(
                "%s, planned for %s, is created: job %s", name, scheduled_for, made.message_id
            )
            meters.PERIODIC_RUNS.add(name, "clock")

    def _confirm_jobs(self, broker: Broker) -> None:
        """Confirm that a running release still has these jobs.

        Also declares jobs whose tables were missing before, because a worker may start before
        `migrate`.
        """
        with db.transaction() as conn:
            noted = self._declare_missing(conn, broker, self._declared_names)
            periodic_jobs.touch_jobs(conn, noted)
        self._declared_names = noted

    def _report(self, error: Exception, _pause_s: float) -> None:
        logger.debug("periodic jobs are not declared: %s", str(error).strip())

    def _declare_missing(self, conn: Connection, broker: Broker, known: set[str]) -> set[str]:
        """Declare jobs that are not known yet and whose tables exist; return all known names."""
        if len(known) == len(periodic_actors(broker)):
            return known
        late = [job for job in self.jobs(broker, conn) if job.name not in known]
        periodic_jobs.declare_jobs(conn, late)
        return known | {job.name for job in late}

    @property
    def _is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def _on_tick(self) -> None:
        """Update metrics and probes at each tick of the clock; declare its jobs when it is time."""
        starts, self._checked_at = self._checked_at == inf, time.monotonic()
        if starts:
            # Only a clock needs it, and it imports an HTTP server.
            endpoints = importlib.import_module("workshed.health.endpoints")
            endpoints.serve_own(lambda: [self.status()], of="clock")
        meters.CLOCK_TICK.set(time.time())  # measured only once a page can show it
        if self._broker and not self._is_paused and self._checked_at >= self._declare_at:
            self._register(self._broker)

    def _register(self, broker: Broker) -> None:
        """Declare a clock's jobs; once a minute, retry those whose tables were missing.

        Raises `SystemExit` if its schema is older than this release, as a worker does when it
        starts.
        """
        from workshed import migrate  # noqa: PLC0415 -- only a clock needs it here

        try:
            with db.transaction() as conn:
                migrate.require_stream(conn, "workshed")
                noted = self._declare_missing(conn, broker, self._declared_names)
            self._declared_names = noted
            lacks = len(noted) < len(periodic_actors(broker))
            self._declare_at = time.monotonic() + REPORT_EVERY.total_seconds() if lacks else inf
        except MigrationError as err:  # `periodiq` exits with 1 on any other exception
            logger.critical("%s", err)
            raise SystemExit(EXIT_USAGE) from None
        except db.TRANSIENT_ERRORS as err:
            self._paused_until = time.monotonic() + PAUSE_S
            logger.warning("periodic jobs are not declared yet: %s", str(err).strip())


def _check_stream(actor_name: str, needs: object) -> None:
    """Raise `ValueError` unless the `App` has the migrations that an actor needs."""
    from workshed import migrate  # noqa: PLC0415 -- few actors have `needs`

    streams = migrate.list_streams()
    if needs not in streams:
        raise ValueError(
            f"{actor_name}: needs={needs!r}: your App has the streams {', '.join(streams)}"
        )


def periodic_actors(broker: Broker) -> list[dramatiq.Actor[..., Any]]:
    """Return the actors of a program that have a schedule."""
    return [
        actor
        for actor in broker.actors.values()
        if isinstance(actor.options.get("periodic"), PeriodiqSpec)
    ]


def default_options(broker: Broker, actor: dramatiq.Actor[..., Any]) -> dict[str, Any]:
    """Return the options that each message of an actor gets when it is sent."""
    message = actor.message()
    for middleware in broker.middleware:
        if isinstance(middleware, (Cancellation, Uniqueness)):
            middleware.before_enqueue(broker, message, None)
    return message.options
