"""Report the errors of jobs to Sentry, in the trace in which they were sent."""

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
INSTALL_HINT = "WORKSHED_SENTRY_DSN is set, but the SDK is missing: pip install 'workshed[sentry]'"
FLUSH_S = 2.0
"""Longest wait for Sentry at the end of a process."""


class Sentry(Observer):
    """Report the failures that matter, and run each job in its own scope and transaction.

    It is active if you set `WORKSHED_SENTRY_DSN`, or if your application has initialised the SDK
    itself. By default it is not, and nothing of the SDK is imported. If it is needed but not
    installed, workers do not boot, and reporting raises the same `SettingsError`.

    In a subclass you can add tags to reports (`tags`) and choose which outcomes are reported
    (`is_reported`).

    *Order:* high, so that the scope opens before other observers begin and closes after they end.
    """

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._actors: dict[str, dramatiq.Actor[..., Any]] = {}

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Keep the actor: its secret arguments are hidden in reports."""
        self._actors[actor.actor_name] = actor

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Initialise the SDK, or use the application's; after the fork, which ends its threads.

        Raises `SettingsError` if the SDK is needed but not installed.
        """
        if self._config.sentry_dsn is not None or _is_initialised():
            _import_events().start_sdk(self._config)

    def before_enqueue(
        self, broker: Broker, message: dramatiq.Message[Any], delay: int | None
    ) -> None:
        """Record the sender's trace; a message that is sent again keeps its first."""
        if not _is_initialised() or "sentry-trace" in message.options.get("trace", {}):
            return
        try:
            traces.add_headers(message.options, _import_events().trace_headers(message))
        except Exception:  # the application's own client failed; send the job anyway
            logger.exception("a message is sent without its trace")

    def on_start(self, job: Job) -> None:
        """Open the scope and the transaction of this run."""
        if _is_initialised():
            job.notes[NAME] = report = self._open_run(job)
            report.run()
            if traces.find_trace_id(job.message.options) is None:
                job.trace = report.trace_id

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Report the outcome if it is a failure that matters; another thread may call this."""
        report = job.notes.get(NAME)
        if report is not None:
            report.end(outcome, matters=self._should_report(job, outcome))
        elif _is_initialised():
            report = self._open_run(job)
            try:
                report.end(outcome, matters=self._should_report(job, outcome))
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
        """Close the scope in the thread that opened it, even if no outcome was stored."""
        if (report := message.job.notes.pop(NAME, None)) is not None:
            report.close()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Close the scope of a job whose actor skipped it."""
        self.after_process_message(broker, message)

    def on_process_exit(self) -> None:
        """Send pending events, because the process ends without its threads."""
        if _is_initialised():
            _import_events().flush_events(FLUSH_S)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Send pending events."""
        self.on_process_exit()

    def tags(self, job: Job) -> Mapping[str, str]:
        """Return additional tags for reports about a job."""
        return {}

    def is_reported(self, job: Job, outcome: Outcome) -> bool:
        """Return whether to report an outcome; by default `WORKSHED_SENTRY_EVENTS` decides."""
        if outcome.is_dead:
            return True
        first = job.attempt == 1 and self._config.sentry_events == "first_and_final"
        return outcome.kind == "retry" and (first or self._config.sentry_events == "all")

    def actor_of(self, job: Job) -> dramatiq.Actor[..., Any] | None:
        """Return the actor of a job, if this program declares it."""
        return self._actors.get(job.message.actor_name)

    def _open_run(self, job: Job) -> Any:
        report = _import_events().SentryRun(self._config, job, self.actor_of(job))
        try:
            report.tag(self.tags(job))
        except Exception:  # an application's subclass failed; report the job anyway
            logger.exception("tags() failed for a job of %s", job.message.actor_name)
        return report

    def _should_report(self, job: Job, outcome: Outcome) -> bool:
        """Return whether to report it; if `is_reported` fails, it is reported."""
        try:
            return self.is_reported(job, outcome)
        except Exception:  # an application's subclass failed
            logger.exception("is_reported() failed: job of %s is reported", job.message.actor_name)
            return True


def remove_sdk_integration(chain: list[Middleware]) -> list[Middleware]:
    """Remove the SDK's Dramatiq integration, which it adds to every broker.

    It reports each attempt with its arguments, and adds an option to messages that no worker
    accepts.
    """
    return [m for m in chain if type(m).__module__ != "sentry_sdk.integrations.dramatiq"]


def _is_initialised() -> bool:
    """Return whether a Sentry client is active."""
    sdk = sys.modules.get("sentry_sdk")
    return sdk is not None and sdk.is_initialized()


def _import_events() -> Any:
    """Import the module that needs the SDK."""
    try:
        from workshed.middleware.observability import sentry_events  # noqa: PLC0415 -- an extra
    except ImportError as err:
        raise SettingsError(INSTALL_HINT) from err
    return sentry_events
