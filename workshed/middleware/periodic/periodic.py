"""Let actors run by the calendar, and answer the clocks that ask when."""

import functools
import inspect
import logging
import threading
import time
from datetime import datetime
from math import inf
from typing import Any

import dramatiq
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed import db, migrate
from workshed.cronspec import Spec
from workshed.db import PASSING_ERRORS, Connection
from workshed.errors import MigrationError
from workshed.health import probes
from workshed.health.status import ProcessStatus
from workshed.jobs.periodic import periodic_jobs, periodic_runs
from workshed.jobs.periodic.periodic_jobs import SAY_EVERY, PeriodicDeclaration
from workshed.metrics import meters
from workshed.middleware.concurrency.uniqueness import Uniqueness
from workshed.middleware.delivery.cancellation import Cancellation
from workshed.middleware.observability.metrics import serve_own
from workshed.middleware.periodic.periodiq_spec import PeriodiqSpec
from workshed.migrate import list_streams

logger = logging.getLogger(__name__)

EXIT_USAGE = 2
"""Of a clock whose database lacks migrations; `workshed.transport.errors` has that of workers."""
PAUSE_S = 5.0
"""After an outage was met PostgreSQL is not asked for this long: a clock has other jobs."""


class Periodic(Middleware):
    """Run an actor by the calendar: `periodic=daily("09:00", tz="Europe/Paris")`.

    Workers and clocks note their jobs in PostgreSQL when they start, and workers every minute that
    they still have them. A clock (`periodiq actors`) never sends: it stores that a run was made and
    the run's message in one transaction. So any number of clocks make one run, and what none could
    make is made by a relay.

    *Order:* below what adds options to messages, for the same reason as there: who makes a run
    knows no actors. *Options:* `periodic=` (`daily`, `cron` or `every` of `workshed`);
    `needs=` (a stream of migrations: until it is applied, the job does not run by itself).
    """

    def __init__(self) -> None:
        """No actor is declared yet."""
        self._broker: Broker | None = None
        self._over = threading.Event()
        self._looked_at = inf
        self._noted: set[str] = set()
        self._says_at = 0.0
        self._rests_until = 0.0

    @property
    def actor_options(self) -> set[str]:
        """When an actor runs by itself."""
        return {"periodic", "needs"}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse what could not run by itself."""
        self._broker = broker
        needs = actor.options.get("needs", "workshed")
        if needs not in list_streams():
            raise ValueError(
                f"{actor.actor_name}: needs={needs!r}: your App has the streams "
                f"{', '.join(list_streams())}"
            )
        spec = actor.options.get("periodic")
        if spec is None or isinstance(spec, PeriodiqSpec):
            return
        if type(spec).__module__.partition(".")[0] == "periodiq":
            raise ValueError(
                f"{actor.actor_name}: periodic={spec!r} is of periodiq, which never fires on "
                "Sundays and misses runs; say periodic=cron(…) or daily(…) of workshed"
            )
        if not isinstance(spec, Spec):
            raise ValueError(  # noqa: TRY004 -- as for every option
                f"{actor.actor_name}: periodic={spec!r}: say daily(…), cron(…) or every(…) of "
                "workshed"
            )
        try:
            inspect.signature(actor.fn).bind()
        except TypeError as err:
            raise ValueError(
                f"{actor.actor_name}: periodic= runs it without arguments: {err}"
            ) from None
        rule = actor.options.get("unique")
        if callable(getattr(rule, "key", None)):
            raise ValueError(  # noqa: TRY004 -- as for every option
                f"{actor.actor_name}: periodic= and a function as key of unique=: a relay makes "
                "runs too, and has no function; leave the key out"
            )
        make = functools.partial(self.fire, actor.actor_name, spec)
        actor.options["periodic"] = PeriodiqSpec(spec, self._look, make)
        self._says_at = 0.0

    def jobs(self, broker: Broker, conn: Connection) -> list[PeriodicDeclaration]:
        """Return the periodic jobs of a program for which the database has the tables."""
        lacks = {stream for stream in list_streams() if migrate.list_pending(conn, (stream,))}
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
        """Note the jobs of this release; from now on, that it still has them."""
        if not periodic_actors(broker):
            return
        with db.transaction() as conn:
            known = self._note(conn, broker, set())
        self._over = over = threading.Event()
        if lacking := {actor.actor_name for actor in periodic_actors(broker)} - known:
            logger.info("%s: not run before their tables are there", ", ".join(sorted(lacking)))
        threading.Thread(
            target=self._go_on_saying, args=[broker, known, over], name="periodic", daemon=True
        ).start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Say so no longer."""
        self._over.set()

    def pulse(self) -> ProcessStatus:
        """Say how this clock is, as of its last look."""
        troubles = []
        if self._rests:
            troubles.append("PostgreSQL does not answer")
        elif not self._says_at:
            troubles.append("its jobs are not noted yet")
        return ProcessStatus("clock", troubles=troubles, at=self._looked_at)

    def fire(self, name: str, spec: Spec, scheduled_for: datetime) -> None:
        """Make a run of a job by its time.

        Never raises: `periodiq` ends by any error, and with it all other jobs.
        """
        try:
            self._fire(name, spec, scheduled_for)
        except PASSING_ERRORS as err:
            self._rests_until = time.monotonic() + PAUSE_S
            logger.warning(
                "%s is not made by this clock, and by a relay later: %s", name, str(err).strip()
            )
        except Exception:
            logger.exception("%s is not made by this clock", name)

    def _fire(self, name: str, spec: Spec, scheduled_for: datetime) -> None:
        if self._rests:
            logger.info("%s is left to a relay", name)
            return
        with db.transaction() as conn:
            reason = periodic_jobs.skip_reason(conn, name, spec, scheduled_for)
            made = None if reason else periodic_runs.create_run(conn, name, scheduled_for, "clock")
        if reason:
            logger.info("%s, planned for %s, is not made: %s", name, scheduled_for, reason)
        elif made is None:
            logger.info("%s, planned for %s, was made by another", name, scheduled_for)
        elif made.message_id is None:
            logger.warning(
                "%s, planned for %s, is not sent: job %s has its key",
                name,
                scheduled_for,
                made.blocked_by,
            )
        else:
            logger.info("%s, planned for %s, is made: job %s", name, scheduled_for, made.message_id)
            meters.PERIODIC_RUNS.add(name, "clock")

    def _go_on_saying(self, broker: Broker, known: set[str], over: threading.Event) -> None:
        """Say every minute that these jobs are still in a release that runs.

        And note those whose tables were not there before: a worker may start ahead of `migrate`.
        """
        pause_s = SAY_EVERY.total_seconds()
        while not over.wait(pause_s):
            try:
                with db.transaction() as conn:
                    noted = self._note(conn, broker, known)
                    periodic_jobs.touch_jobs(conn, noted)
                known = noted
                pause_s = SAY_EVERY.total_seconds()
            except Exception as err:  # noqa: BLE001 -- it says so again, whatever it was
                logger.debug("periodic jobs are not noted: %s", str(err).strip())
                pause_s = PAUSE_S

    def _note(self, conn: Connection, broker: Broker, known: set[str]) -> set[str]:
        """Note the jobs that are not known yet, and whose tables are there; return all known."""
        if len(known) == len(periodic_actors(broker)):
            return known
        late = [job for job in self.jobs(broker, conn) if job.name not in known]
        periodic_jobs.declare_jobs(conn, late)
        return known | {job.name for job in late}

    @property
    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    def _look(self) -> None:
        """Tell numbers and probes that this clock looks; note its jobs, if it is time for that."""
        starts, self._looked_at = self._looked_at == inf, time.monotonic()
        meters.CLOCK_TICK.set(time.time())
        if starts:
            serve_own(probes.probe_pages(lambda: [self.pulse()], of="clock"))
        if self._broker and not self._rests and self._looked_at >= self._says_at:
            self._note_own(self._broker)

    def _note_own(self, broker: Broker) -> None:
        """Note a clock's jobs; once a minute, those whose tables were not there.

        Raises `SystemExit` where its schema is older than this release, as a worker's start does.
        """
        try:
            with db.transaction() as conn:
                migrate.require_stream(conn, "workshed")
                noted = self._note(conn, broker, self._noted)
            self._noted = noted
            lacks = len(noted) < len(periodic_actors(broker))
            self._says_at = time.monotonic() + SAY_EVERY.total_seconds() if lacks else inf
        except MigrationError as err:  # any other error `periodiq` would end with 1 by
            logger.critical("%s", err)
            raise SystemExit(EXIT_USAGE) from None
        except PASSING_ERRORS as err:
            self._rests_until = time.monotonic() + PAUSE_S
            logger.warning("periodic jobs are not noted yet: %s", str(err).strip())


def periodic_actors(broker: Broker) -> list[dramatiq.Actor[..., Any]]:
    """Return the actors of a program that run by themselves."""
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
