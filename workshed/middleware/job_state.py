"""What single features keep of a job that runs; each is written by its own middleware alone."""

from collections.abc import Sequence
from dataclasses import field
from typing import Literal
from uuid import UUID, uuid4

from workshed.jobs.locks.limits import SlotRequest
from workshed.jobs.locks.run_locks import RunLock
from workshed.middleware.options.unique import Unique
from workshed.value_class import state_class, value_class


@state_class
class UniqueClaim:
    """What a job has by its uniqueness; kept by `Uniqueness`."""

    rule: Unique | None
    """The option of its actor; `None` where only its message has a key."""
    run_lock: RunLock | None = None
    """Its right to run, if only one job with its key runs at a time."""
    holds_key: bool = False
    """It started with a key that is its own until it ends."""

    @property
    def is_released_at_end(self) -> bool:
        """Whether the end of the job releases its key, if it still has one."""
        return self.rule is None or self.rule.strategy != "until_expired"


@state_class
class SlotClaim:
    """What a job takes of the limits of its actor; kept by `Limits`.

    | state | slots |
    |---|---|
    | `requested` | none yet |
    | `held` | those of `requests`, under `token`, until it ends |
    | `over_limit` | none; the job waits for one, and does not run now |
    """

    requests: Sequence[SlotRequest] = ()
    state: Literal["requested", "held", "over_limit"] = "requested"
    token: UUID = field(default_factory=uuid4)
    """Names what this start has taken, also where taking it is repeated."""

    @property
    def held_token(self) -> UUID | None:
        """The token of what it holds, if it holds anything."""
        return self.token if self.state == "held" else None


@value_class
class ReturnValue:
    """What a job returned, where that is stored; kept by `Results`."""

    value: object
