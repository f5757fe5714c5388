"""An actor's uniqueness rule, and the key that it makes of a job's arguments."""

from datetime import timedelta
from typing import Any, Literal, get_args

import dramatiq

from workshed.middleware.options.keys import Key, check_key, render_key
from workshed.value_class import frozen_class

Strategy = Literal[
    "until_executing",
    "until_executed",
    "until_expired",
    "while_executing",
    "until_and_while_executing",
]
OnConflict = Literal["log", "raise", "replace", "reschedule"]


@frozen_class
class Unique:
    """Allow one queued or one running job per key.

    `Unique(key=["attachment_id"], on_conflict="replace")`. The key is made of the named arguments,
    of the result of a function of the arguments, or by default of all arguments. Each actor has
    keys of its own.

    `strategy`, when the key is held:
    `until_executing`: from its send to its start;
    `until_executed`: from its send to its end, through delays and retries;
    `until_expired`: from its send for `unique_for`, whatever its outcome;
    `while_executing`: while it runs, so that jobs wait for each other;
    `until_and_while_executing`: from its send to its start, and while it runs.

    `on_conflict`, what happens to a job that does not get the key:
    `log`: it is dropped, and its `send` returns the message that holds the key;
    `raise`: `send` raises `DuplicateJobError`, and a run that does not get its run lock fails;
    `replace`: it ends the job that holds the key, waiting or running, and takes its place;
    `reschedule`: it tries again every 5 s.
    The default is `log`, or `reschedule` for a job that has to wait for another to run.

    `unique_for`: the key is released after this span in any case, counted from when the job is due.
    """

    strategy: Strategy = "until_executed"
    key: Key | None = None
    on_conflict: OnConflict | None = None
    unique_for: timedelta | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that cannot work, when the actor is declared."""
        if self.strategy not in get_args(Strategy):
            raise ValueError(
                f"strategy={self.strategy!r}: must be one of {', '.join(get_args(Strategy))}"
            )
        if self.on_conflict is not None and self.on_conflict not in get_args(OnConflict):
            raise ValueError(
                f"on_conflict={self.on_conflict!r}: "
                f"must be one of {', '.join(get_args(OnConflict))}"
            )
        if self.strategy == "until_expired" and self.unique_for is None:
            raise ValueError("until_expired needs unique_for, or the key would be held for ever")
        if self.unique_for is not None and self.unique_for < timedelta(milliseconds=1):
            raise ValueError(f"unique_for={self.unique_for}: must be at least a millisecond")
        if self.strategy == "while_executing":
            if self.unique_for is not None:
                raise ValueError(
                    "while_executing holds its key while the job runs: it takes no unique_for"
                )
            if self.on_conflict == "replace":
                raise ValueError("while_executing cannot replace a running job")

    @property
    def locks_on_enqueue(self) -> bool:
        """Return whether a job acquires its key when it is sent."""
        return self.strategy != "while_executing"

    @property
    def releases_on_start(self) -> bool:
        """Return whether that key is released when the job starts."""
        return self.strategy in ("until_executing", "until_and_while_executing")

    @property
    def locks_while_running(self) -> bool:
        """Return whether only one job per key runs at a time."""
        return self.strategy in ("while_executing", "until_and_while_executing")

    @property
    def enqueue_conflict(self) -> OnConflict:
        """What a send does if it does not get the key."""
        return self.on_conflict or "log"

    @property
    def run_conflict(self) -> OnConflict:
        """What a run does if it does not get its run lock; nothing replaces a running job."""
        if self.on_conflict in (None, "replace"):
            return "reschedule"
        if self.strategy == "until_and_while_executing" and self.on_conflict == "log":
            return "reschedule"  # the send accepted it, so dropping it now would lose it
        return self.on_conflict

    def check(self, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse a key that names arguments the actor does not have."""
        if self.key is not None:
            check_key(actor, self.key)

    def key_of(self, actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any]) -> str:
        """Return a message's key; positional and keyword arguments and defaults are treated alike.

        Raises what the function given as `key` raises, and `ValueError` for a result that is not
        JSON.
        """
        return render_key(actor.actor_name, actor, message, self.key)
