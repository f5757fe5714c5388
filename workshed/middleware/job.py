"""A job that a worker runs, its outcome, and the base of middleware that writes the outcome."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed.database.postgres import Connection
from workshed.jobs import traces
from workshed.jobs.idempotency.completed_generations import GenerationEnd
from workshed.jobs.outbox.worker_claims import RowClaim
from workshed.jobs.outcomes import DEAD, DISCARDED, FINAL, OutcomeKind
from workshed.jobs.tags import CancelTraits
from workshed.middleware.job_state import ReturnValue, SlotClaim, UniqueClaim
from workshed.redaction import hide_words
from workshed.value_class import value_class


class Job:
    """One delivery of a message to its actor.

    Class attributes are the defaults of what most jobs never have. What a single feature keeps of
    a job has a class of its own in `job_state`.
    """

    run_id: tuple[str, int]
    """What names this run: the message, and its generation."""
    isolated = False
    """Nothing else runs in this process."""
    outcome: "Outcome | None" = None
    """The outcome that is stored, by this delivery or by a copy; `None` until then."""
    observers_called = False
    """The observers know its outcome."""
    unique: UniqueClaim | None = None
    slots: SlotClaim | None = None
    claim: RowClaim | None = None
    """Its row, if it was taken from PostgreSQL; deleted in the transaction of its outcome."""
    return_value: ReturnValue | None = None
    successors: Sequence[dramatiq.Message[Any]] = ()
    """What is sent with its success."""
    made_progress = False
    """It has saved a cursor: its failures are counted from the start."""
    worker_stopping: threading.Event | None = None
    """Set while its worker stops."""
    cancelled = False
    """It was cancelled while it runs, and knows it."""
    started_at: float | None = None
    """When its actor started, Unix s; `None` while or where it does not run."""
    duration_s: float | None = None
    """How long its actor ran, in seconds."""
    arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
    """What its actor is called with, if the annotations differ from the message's plain JSON."""
    secrets: tuple[str, ...] = ()
    """Texts to hide wherever the job is shown, the longest first."""

    def __init__(
        self,
        message: dramatiq.Message[Any],
        *,
        may_be_duplicate: bool,
        redelivered: bool = False,
        published_s: float | None = None,
        isolated: bool = False,
    ) -> None:
        self.message = message
        self.may_be_duplicate = may_be_duplicate
        """A copy of it may exist: redelivered, sent again, or by a relay. Deduplication looks."""
        self.redelivered = redelivered
        """It was delivered before, or may have been, so it may have been started."""
        self.published_s = published_s
        """When this copy was published to RabbitMQ, by the sender's clock; Unix s."""
        self.notes: dict[str, Any] = {}
        """What observers keep about it while it runs, each under its own name."""
        options = message.options
        self.is_plain = not options and not may_be_duplicate
        """Its first delivery, without options: most checks and steps depend on its actor alone."""
        self.run_id = message.message_id, int(options.get("generation", 0))
        self.trace = traces.find_trace_id(options) if "trace" in options else None
        """The id of its trace: the sender's, unless an observer has started another."""
        if isolated:
            self.isolated = True

    @property
    def actor(self) -> str:
        """The name of its actor."""
        return self.message.actor_name

    @property
    def log_fields(self) -> dict[str, Any]:
        """The fields of each log line about it."""
        message = self.message
        fields = {
            "message_id": message.message_id,
            "actor": message.actor_name,
            "queue": message.queue_name,
            "attempt": self.attempt,
        }
        return fields if self.trace is None else {**fields, "trace": self.trace}

    @property
    def message_id(self) -> str:
        """The id of its message, the same for every generation."""
        return self.message.message_id

    @property
    def is_stopping(self) -> bool:
        """Whether its worker stops."""
        return self.worker_stopping is not None and self.worker_stopping.is_set()

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1; a run that costs no attempt does not raise it."""
        return int(self.message.options.get("attempt", 1))

    @property
    def generation(self) -> int:
        """How often the message was sent again; never reset."""
        return self.run_id[1]

    def redact(self, text: str) -> str:
        """Hide what is secret in a text about it."""
        return hide_words(text, self.secrets) if self.secrets else text

    def finish(self, outcome: "Outcome") -> None:
        """Keep the stored outcome, without its error: its frames would keep what the actor used."""
        self.outcome = replace(outcome, error=None) if outcome.error else outcome

    def lose_run_lock(self) -> None:
        """Forget a run lock that another process may have by now."""
        if self.unique is not None:
            self.unique.run_lock = None

    @property
    def cancel_traits(self) -> CancelTraits:
        """What a rule that cancels looks at."""
        options = self.message.options
        return CancelTraits(
            actor=self.message.actor_name,
            queue=self.message.queue_name,
            tags=tuple(options.get("tags", ())),
            sent_ms=options.get("redriven", self.message.message_timestamp),
        )

    @property
    def first_due_ms(self) -> int:
        """When it was first due, or was redriven since; Unix ms."""
        options = self.message.options
        sent: int = self.message.message_timestamp
        return int(options.get("redriven", max(options.get("due", 0), sent)))

    @property
    def published_at(self) -> datetime | None:
        """When this copy was published to RabbitMQ, by the sender's clock."""
        at = self.published_s
        return None if at is None else datetime.fromtimestamp(at, UTC)

    @property
    def queue_wait_s(self) -> float | None:
        """How long it waited in its queue and in this worker's memory until its actor started.

        In seconds, from when this copy was published to RabbitMQ, by the sender's clock.
        """
        if self.started_at is None or self.published_s is None:
            return None
        return max(self.started_at - self.published_s, 0.0)

    @property
    def batch(self) -> str | None:
        """The id of the batch that it belongs to, or whose callback it is."""
        options = self.message.options
        return options.get("batch") or options.get("callback_of")

    @property
    def scheduled_for(self) -> datetime | None:
        """The scheduled time of a periodic run."""
        scheduled_for = self.message.options.get("scheduled_for")
        return None if scheduled_for is None else datetime.fromtimestamp(scheduled_for / 1000, UTC)

    @property
    def sent_at(self) -> datetime:
        """When it was first sent; later generations keep it."""
        return datetime.fromtimestamp(self.message.message_timestamp / 1000, UTC)

    @property
    def is_transactional(self) -> bool:
        """Whether it was stored with its sender's data, which is then visible or deleted."""
        return self.message.options.get("origin") == "transaction"


@value_class
class RetriesExhausted:
    """The retries of a dead job; `max_retries` is `None` if no number limited them."""

    retries: int
    max_retries: int | None


@value_class
class Outcome:
    """How a run has ended, and what follows; decided before anything is written about it."""

    kind: OutcomeKind
    reason: str = ""
    error: BaseException | None = None
    delay: timedelta = timedelta()
    """Until the next run of a job that is retried or snoozed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options that are added to the message of the next run."""
    queue: str | None = None
    """The queue of the next run; `None`: the same queue."""
    retries_exhausted: RetriesExhausted | None = None
    """Set for a dead job whose retries were exhausted."""

    @property
    def is_discarded(self) -> bool:
        """The job ended without success or failure: discarded, cancelled or skipped."""
        return self.kind in DISCARDED

    @property
    def is_dead(self) -> bool:
        """The job is dead: it failed permanently, expired, or is a poison job."""
        return self.kind in DEAD

    @property
    def is_final(self) -> bool:
        """The job will not run again by itself."""
        return self.kind in FINAL


SUCCEEDED = Outcome("succeeded")
"""The outcome of a job whose actor returned."""


class OutcomeMiddleware(Middleware):
    """Middleware that writes a part of each outcome.

    `on_outcome` runs in the transaction that stores the outcome. It is not a hook, so its errors
    are not swallowed: a transient error is retried in place, and any other error sends the delivery
    to the dead queue.
    """

    is_one_statement = False
    """Whether its step needs no transaction when no other middleware writes."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Call `on_outcome` of a subclass that replaces it, instead of grouping its outcomes.

        A subclass may also inherit one from another base.
        """
        super().__init_subclass__(**options)
        bases = cls.__mro__
        writes, groups = (
            next(at for at, base in enumerate(bases) if name in vars(base))
            for name in ("on_outcome", "can_be_grouped")
        )
        if writes < groups:
            cls.can_be_grouped = OutcomeMiddleware.can_be_grouped  # type: ignore[method-assign]

    def handles(self, job: Job, outcome: Outcome) -> bool:
        """Return whether this middleware writes anything; if none does, no transaction starts.

        By default it does, unless the job has succeeded. Override this to write about successes.
        """
        return outcome.kind != "succeeded"

    def writes_plain_success(self, actor: dramatiq.Actor[..., Any]) -> bool:
        """Return whether it may write about a plain job of this actor that has succeeded.

        Asked once for each actor. If not, `handles` is not asked for jobs that are delivered for
        the first time, have no options, and leave no result and no successors.
        """
        return True

    def can_be_grouped(self, job: Job, outcome: Outcome) -> bool:
        """Return whether its part is what `end_generations` writes, for several jobs at once.

        Then `on_grouped_end` is called instead of `on_outcome` if that is true of all middleware
        that writes.
        """
        return False

    def on_grouped_end(self, job: Job, end: GenerationEnd) -> None:
        """Take what the end of the job has found."""
        raise NotImplementedError

    def on_outcome(self, conn: Connection, job: Job, outcome: Outcome) -> Outcome | None:
        """Write what follows from the outcome.

        May return the same outcome with another time or reason, for later middleware and for
        observers.
        """
        raise NotImplementedError


class DuplicateDelivery(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check, or by `on_outcome`, if another copy of the job has stored its outcome."""


class OutcomeKnown(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check before the job: its outcome is known, so it does not run."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class RunIsolated(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check before the job: it may kill its worker, so it must run alone."""


class RunLockLost(Exception):  # noqa: N818 -- control flow, no error
    """Raised by `on_outcome` if another job may have run, so this run stores no outcome."""

    def __init__(self, key: str) -> None:
        super().__init__(f"lost the run lock of {key}: its process did not renew it in time")
