"""Keep the history of attempts, for people to read."""

import time
from typing import TYPE_CHECKING, Literal

import orjson
from dramatiq.broker import Broker
from dramatiq.worker import Worker

from workshed.jobs.history.attempts import LONGEST_ERROR, describe_error, to_storable
from workshed.jobs.history.copy_format import SuccessEncoder, encode_row
from workshed.middleware.job import SUCCEEDED, Job, Outcome
from workshed.middleware.observability.redaction import redact_arguments
from workshed.middleware.observer import Observer

if TYPE_CHECKING:
    from workshed.middleware.observability.history_writer import HistoryWriter

HistoryLevel = Literal["all", "failures", "none"]

LARGEST_ARGUMENTS_BYTES = 2_048
RERUN_KINDS = ("retry", "snoozed", "interrupted", "unknown_actor")
NUL, REPLACEMENT = b"\\u0000", b"\\ufffd"


class History(Observer):
    """Record each delivery's outcome in the background; a worker that is killed loses some records.

    Facts that you must not lose are stored elsewhere, in the transaction of the outcome.

    *Order:* any, because observers run after the outcome is stored.
    """

    def __init__(self, kept: HistoryLevel, release: str) -> None:
        """Keep which runs to record: all, only those that did not succeed, or none.

        With `failures`, the others are counted. With `none`, nothing is written.
        """
        self._level = kept
        self._release = release
        self._broker: Broker | None = None
        self.writer: HistoryWriter | None = None
        """Set only in a worker, because no other process runs jobs."""
        self._success_encoders: dict[tuple[str, str], SuccessEncoder] = {}
        """By actor and queue."""

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:
        """Start writing."""
        if self._level != "none":
            # Programs that only send do not need it: it takes 5 ms.
            from workshed.middleware.observability.history_writer import HistoryWriter  # noqa: PLC0415

            self._broker = broker
            self.writer = HistoryWriter(self._release)
            self._success_encoders.clear()  # of another process, before a fork
            self.writer.start()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None

    def on_process_exit(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()

    def on_outcome_stored(self, job: Job, outcome: Outcome) -> None:
        """Pass its record to the writer."""
        recorder = self.writer
        if recorder is None:
            return
        if self._level == "failures" and outcome.kind == "succeeded":
            recorder.unrecorded.add(
                actor=job.message.actor_name,
                queue=job.message.queue_name,
                outcome=outcome.kind,
                duration_s=job.duration_s,
                queue_wait_s=job.queue_wait_s,
            )
        else:
            success = self._success_row(job, recorder.worker) if outcome is SUCCEEDED else None
            recorder.add(success or self._row(job, outcome, recorder.worker))

    def _success_row(self, job: Job, worker: str) -> bytes | None:
        """Return what `_row` returns for a success, sooner; `None` unless it is of a plain job."""
        message = job.message
        published, started, duration_s = job.published_s, job.started_at, job.duration_s
        if (
            not job.is_plain
            or job.trace is not None
            or (published is None or started is None or duration_s is None)
        ):
            return None
        names = message.actor_name, message.queue_name
        encoder = self._success_encoders.get(names)
        if encoder is None:
            actor, queue = names
            encoder = SuccessEncoder(queue=queue, actor=actor, worker=worker, release=self._release)
            self._success_encoders[names] = encoder
        return encoder.encode(
            message.message_id,
            sent=message.message_timestamp / 1000,
            published=published,
            started=started,
            ended=time.time(),
            queue_wait_s=max(started - published, 0.0),
            duration_s=duration_s,
            arguments=self._arguments(job),
        )

    def _row(self, job: Job, outcome: Outcome, worker: str) -> bytes:
        message, options = job.message, job.message.options
        error = describe_error(outcome.error, job.redact)
        return encode_row(
            message_id=message.message_id,
            generation=job.generation,
            attempt=job.attempt,
            queue=message.queue_name,
            actor=message.actor_name,
            outcome=outcome.kind,
            reason=outcome.reason and job.redact(to_storable(outcome.reason))[:LONGEST_ERROR],
            error_class=error.error_class,
            error=error.error,
            traceback=error.traceback,
            sent=message.message_timestamp / 1000,
            published=job.published_s,
            started=job.started_at,
            ended=time.time(),
            queue_wait_s=job.queue_wait_s,
            duration_s=job.duration_s,
            retry_in_s=outcome.delay.total_seconds() if outcome.kind in RERUN_KINDS else None,
            worker=worker,
            parent=options.get("parent"),
            origin=options.get("origin", "send"),
            trace=job.trace,
            tags=options.get("tags"),
            release=self._release,
            arguments=self._arguments(job),
        )

    def _arguments(self, job: Job) -> bytes | None:
        broker, message = self._broker, job.message
        actor = None if broker is None else broker.actors.get(message.actor_name)
        if actor is None:  # only the actor's own program knows which arguments are secret
            return None
        body = orjson.dumps(redact_arguments(actor, message))
        if len(body) > LARGEST_ARGUMENTS_BYTES:
            return None
        if NUL in body:  # jsonb cannot store it
            body = body.replace(NUL, REPLACEMENT)
        return body
