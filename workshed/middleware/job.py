"""The job a worker runs, the outcome it comes to, and what middleware may write about it."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
from dramatiq.middleware import Middleware

from workshed.db import Connection
from workshed.jobs import traces
from workshed.jobs.outcomes import DEAD, DISCARDED, FINAL, OutcomeKind
from workshed.jobs.tags import CancelTraits
from workshed.middleware.job_state import ReturnValue, SlotClaim, UniqueClaim
from workshed.redaction import hide_words


class Job:
    """One delivery of a message that an actor is to run.

    Class attributes are the defaults of what most jobs never have. What a single feature keeps of
    a job has a class of its own in `job_state`.
    """

    isolated = False
    """Nothing else runs in this process."""
    outcome: "Outcome | None" = None
    """The outcome that is stored, by this delivery or by a copy; `None` until then."""
    observed = False
    """The observers know its outcome."""
    unique: UniqueClaim | None = None
    slots: SlotClaim | None = None
    returned: ReturnValue | None = None
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
    secrets: tuple[str, ...] = ()
    """Texts that are not to be shown of it, the longest first."""

    def __init__(
        self,
        message: dramatiq.Message[Any],
        *,
        may_be_duplicate: bool,
        redelivered: bool = False,
        published: datetime | None = None,
        isolated: bool = False,
    ) -> None:
        """Take what its delivery says."""
        self.message = message
        self.may_be_duplicate = may_be_duplicate
        """A copy of it may exist: redelivered, sent again, or by a relay. Deduplication looks."""
        self.redelivered = redelivered
        """Delivered before, or sent before with unknown fate: it may have been started."""
        self.published = published
        """When this copy was handed to RabbitMQ, by its sender's clock."""
        self.notes: dict[str, Any] = {}
        """What observers keep of it while it runs, each under its own name."""
        options = message.options
        self.trace = traces.trace_id(options) if "trace" in options else None
        """The id of the trace it runs in: its sender's, unless an observer has begun another."""
        if isolated:
            self.isolated = True

    @property
    def actor(self) -> str:
        """The name of its actor."""
        return self.message.actor_name

    @property
    def run_id(self) -> tuple[str, int]:
        """What names this run: the message, and its generation."""
        return self.message.message_id, self.generation

    @property
    def log_fields(self) -> dict[str, Any]:
        """What is on each log line about it."""
        message = self.message
        fields = {
            "job_id": message.message_id,
            "actor": message.actor_name,
            "queue": message.queue_name,
            "attempt": self.attempt,
        }
        return fields if self.trace is None else {**fields, "trace": self.trace}

    @property
    def message_id(self) -> str:
        """The same on every generation of a message."""
        return self.message.message_id

    @property
    def stopping(self) -> bool:
        """Whether its worker stops."""
        return self.worker_stopping is not None and self.worker_stopping.is_set()

    @property
    def attempt(self) -> int:
        """This run; the first is 1. It stands still when a run costs none."""
        return int(self.message.options.get("attempt", 1))

    @property
    def generation(self) -> int:
        """How often the message was put back on its way; never reset."""
        return int(self.message.options.get("generation", 0))

    def redact(self, text: str) -> str:
        """Hide what is secret in a text about it."""
        return hide_words(text, self.secrets) if self.secrets else text

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
        """When it was due first, or was wanted back since; Unix ms."""
        options = self.message.options
        sent: int = self.message.message_timestamp
        return int(options.get("redriven", max(options.get("due", 0), sent)))

    @property
    def queue_wait_s(self) -> float | None:
        """For how long it was in its queue, and in this worker's memory, until its actor started.

        In seconds, from when this copy was handed to RabbitMQ, by its sender's clock.
        """
        if self.started_at is None or self.published is None:
            return None
        return max(self.started_at - self.published.timestamp(), 0.0)

    @property
    def batch(self) -> str | None:
        """The id of the batch it is in, or whose end it is told of."""
        options = self.message.options
        return options.get("batch") or options.get("callback_of")

    @property
    def scheduled_for(self) -> datetime | None:
        """The time a periodic job is for."""
        scheduled_for = self.message.options.get("scheduled_for")
        return None if scheduled_for is None else datetime.fromtimestamp(scheduled_for / 1000, UTC)

    @property
    def sent_at(self) -> datetime:
        """When it was sent; no generation changes that."""
        return datetime.fromtimestamp(self.message.message_timestamp / 1000, UTC)

    @property
    def transactional(self) -> bool:
        """It was stored together with its sender's data, so that data is visible or gone."""
        return self.message.options.get("origin") == "transaction"


@dataclass(frozen=True, slots=True)
class RetriesExhausted:
    """What a job that is dead had: `max_retries` is `None` where no number bounded them."""

    retries: int
    max_retries: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from a run. Reached before anything is written about it."""

    kind: OutcomeKind
    reason: str = ""
    error: BaseException | None = None
    delay: timedelta = timedelta()
    """Until the next run, of a job that is retried or snoozed."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What the message of the next run carries besides."""
    queue: str | None = None
    """Where the next run waits, when not where this one did."""
    spent: RetriesExhausted | None = None
    """Of a dead job: it was retried until its retries were spent."""

    @property
    def is_discarded(self) -> bool:
        """The job ends without a failure, and did not succeed: discarded, cancelled or skipped."""
        return self.kind in DISCARDED

    @property
    def is_dead(self) -> bool:
        """The job is a dead job from now on: it failed for good, expired, or is a poison job."""
        return self.kind in DEAD

    @property
    def is_final(self) -> bool:
        """The job will not run again by itself."""
        return self.kind in FINAL


SUCCEEDED = Outcome("succeeded")
"""The outcome of a job whose actor returned."""


class OutcomeMiddleware(Middleware):
    """Middleware with a step that must happen.

    `settle` writes in the one transaction of an outcome. It is not a hook: its failure is not
    swallowed. A passing one is repeated in place, any other sends the delivery to the dead queue.
    """

    is_one_statement = False
    """Where nobody else writes, its step needs no transaction around it."""

    def concerns(self, job: Job, outcome: Outcome) -> bool:
        """Tell whether this middleware writes anything; where none does, nothing is opened."""
        return outcome.kind != "succeeded"

    def settle(self, conn: Connection, job: Job, outcome: Outcome) -> Outcome | None:
        """Write what follows from the outcome.

        May return the same one with another time or reason, for those below and for observers.
        """
        raise NotImplementedError


class DuplicateDelivery(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check, or by `settle`, when another copy of the job has written its outcome."""


class OutcomeKnown(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check before the job: it does not run, its outcome is known."""

    def __init__(self, outcome: Outcome) -> None:
        """Keep the outcome, to be stored."""
        super().__init__(outcome.reason)
        self.outcome = outcome


class RunIsolated(Exception):  # noqa: N818 -- control flow, no error
    """Raised by a check before the job: it may kill its worker, and runs when nothing else does."""


class RunLockLost(Exception):  # noqa: N818 -- control flow, no error
    """Raised by `settle` when another job may have run meanwhile: this run has no outcome."""

    def __init__(self, key: str) -> None:
        """Keep the key of the turn."""
        super().__init__(f"the turn of {key} was lost: its process was silent for too long")
