"""Tell Sentry what jobs fail of, in the trace they were sent in."""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.errors import SettingsError
from workshed.jobs import traces
from workshed.middleware.job import Job, Outcome
from workshed.middleware.observer import Observer
from workshed.settings import Settings

logger = logging.getLogger(__name__)

NAME = "sentry"
INSTALL = "WORKSHED_SENTRY_DSN is set, but the SDK is missing: pip install 'workshed[sentry]'"
FLUSH_S = 2.0
"""Longest wait for Sentry at the end of a process."""


class Sentry(Observer):
    """Report the failures that matter, run each job in a scope and a transaction of its own.

    Off where neither `WORKSHED_SENTRY_DSN` is set nor the application has initialised the SDK
    itself; nothing of it is imported then. Where it is wanted and not installed, workers do not
    boot, and what reports raises the same `SettingsError`.

    A class that inherits from it may say more of each job (`tags`), and report others (`matters`).

    *Order:* high, so that the scope is there before other observers begin, and after they end.
    """

    def __init__(self, config: Settings) -> None:
        """Import nothing yet."""
        self._config = config
        self._actors: dict[str, dramatiq.Actor[..., Any]] = {}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Know it: what it hides is hidden in all that is reported of its jobs."""
        self._actors[actor.actor_name] = actor

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Initialise the SDK, or use the application's; after the fork: its thread is in no child.

        Raises `SettingsError` where it is wanted and not installed.
        """
        if self._config.sentry_dsn is not None or _initialised():
            _reports().start_sdk(self._config)

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Note the sender's trace; what is put back on its way keeps its first."""
        if not _initialised() or "sentry-trace" in message.options.get("trace", {}):
            return
        try:
            traces.carry_headers(message.options, _reports().trace_headers(message))
        except Exception:  # of the application's own client; the job is sent all the same
            logger.exception("a message is sent without its trace")

    def began(self, job: Job) -> None:
        """Open the scope and the transaction of this run."""
        if _initialised():
            job.notes[NAME] = report = self._report(job)
            report.run()
            if traces.trace_id(job.message.options) is None:
                job.trace = report.trace_id

    def ended(self, job: Job, outcome: Outcome) -> None:
        """Report it, if it is a failure that matters; by a thread of another job at times."""
        report = job.notes.get(NAME)
        if report is not None:
            report.end(outcome, matters=self._judged(job, outcome))
        elif _initialised():
            report = self._report(job)
            try:
                report.end(outcome, matters=self._judged(job, outcome))
            finally:
                report.close()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Close the scope, in the thread that opened it, also where no outcome was stored."""
        if (report := message.job.notes.pop(NAME, None)) is not None:
            report.close()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Close the scope of a job whose actor skipped it."""
        self.after_process_message(broker, message)

    def leaving(self) -> None:
        """Send what waits to be sent: the process ends without its threads."""
        if _initialised():
            _reports().flush_events(FLUSH_S)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Send what waits to be sent."""
        self.leaving()

    def tags(self, job: Job) -> Mapping[str, str]:
        """Return more tags of what is reported of a job."""
        return {}

    def matters(self, job: Job, outcome: Outcome) -> bool:
        """Tell whether an outcome is reported; by default `WORKSHED_SENTRY_EVENTS` says so."""
        if outcome.is_dead:
            return True
        first = job.attempt == 1 and self._config.sentry_events == "first_and_final"
        return outcome.kind == "retry" and (first or self._config.sentry_events == "all")

    def actor_of(self, job: Job) -> dramatiq.Actor[..., Any] | None:
        """Return the actor of a job, where this program declares it."""
        return self._actors.get(job.message.actor_name)

    def _report(self, job: Job) -> Any:
        report = _reports().SentryRun(self._config, job, self.actor_of(job))
        try:
            report.tag(self.tags(job))
        except Exception:  # of an application's class; the job is reported all the same
            logger.exception("a job of %s has no tags of its own", job.message.actor_name)
        return report

    def _judged(self, job: Job, outcome: Outcome) -> bool:
        """Ask whether it is reported; what cannot be told is."""
        try:
            return self.matters(job, outcome)
        except Exception:  # of an application's class
            logger.exception("a job of %s is reported", job.message.actor_name)
            return True


def without_stock(chain: list[Middleware]) -> list[Middleware]:
    """Leave out what the SDK's Dramatiq integration puts into every broker.

    It reports each attempt with its arguments, and puts an option on messages that no worker takes.
    """
    return [m for m in chain if type(m).__module__ != "sentry_sdk.integrations.dramatiq"]


def _initialised() -> bool:
    """Tell whether there is anybody to report to."""
    sdk = sys.modules.get("sentry_sdk")
    return sdk is not None and sdk.is_initialized()


def _reports() -> Any:
    """Import what needs the SDK."""
    try:
        from workshed.middleware.observability import sentry_events  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(INSTALL) from err
    return sentry_events
