"""What an actor says about its uniqueness, and the key that follows from its arguments."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, get_args

import dramatiq

from workshed.middleware.options.keys import Key, check_key, render_key

Strategy = Literal[
    "until_executing",
    "until_executed",
    "until_expired",
    "while_executing",
    "until_and_while_executing",
]
OnConflict = Literal["log", "raise", "replace", "reschedule"]


@dataclass(frozen=True, slots=True)
class Unique:
    """Keep one job alive, or one running, per key.

    `Unique(key=["attachment_id"], on_conflict="replace")`. The key is made of the arguments named,
    or of what a function of them returns, or of all; each actor has keys of its own.

    `strategy`, when the key is held:
    `until_executing`: from its send to its start;
    `until_executed`: from its send to its end, through delays and retries;
    `until_expired`: from its send for `unique_for`, whatever becomes of it;
    `while_executing`: while it runs, so that jobs wait for each other;
    `until_and_while_executing`: from its send to its start, and while it runs.

    `on_conflict`, what a job does that does not get the key:
    `log`: it is dropped, and its `send` returns the message that has the key;
    `raise`: `send` raises `DuplicateJobError`, and a run that does not get its turn has failed;
    `replace`: it ends the job that has the key, whether that waits or runs, and takes its place;
    `reschedule`: it tries again after 5 s, again and again.
    `log`, unless it would have to wait for another to run: `reschedule`.

    `unique_for`: after this the key is free in any case, counted from when the job is due.
    """

    strategy: Strategy = "until_executed"
    key: Key | None = None
    on_conflict: OnConflict | None = None
    unique_for: timedelta | None = None

    def __post_init__(self) -> None:
        """Refuse what could not work, when the actor is declared."""
        if self.strategy not in get_args(Strategy):
            raise ValueError(f"strategy={self.strategy!r}: one of {', '.join(get_args(Strategy))}")
        if self.on_conflict is not None and self.on_conflict not in get_args(OnConflict):
            raise ValueError(
                f"on_conflict={self.on_conflict!r}: one of {', '.join(get_args(OnConflict))}"
            )
        if self.strategy == "until_expired" and self.unique_for is None:
            raise ValueError("until_expired needs unique_for, or the key would be held for ever")
        if self.unique_for is not None and self.unique_for < timedelta(milliseconds=1):
            raise ValueError(f"unique_for={self.unique_for}: at least a millisecond")
        if self.strategy == "while_executing":
            if self.unique_for is not None:
                raise ValueError(
                    "while_executing holds its key for as long as it runs: no unique_for"
                )
            if self.on_conflict == "replace":
                raise ValueError("while_executing cannot replace a job that runs")

    @property
    def locks_when_sent(self) -> bool:
        """Tell whether a job has its key from its send on."""
        return self.strategy != "while_executing"

    @property
    def ends_at_start(self) -> bool:
        """Tell whether that key is given back when the job starts."""
        return self.strategy in ("until_executing", "until_and_while_executing")

    @property
    def locks_when_run(self) -> bool:
        """Tell whether one job per key runs at a time."""
        return self.strategy in ("while_executing", "until_and_while_executing")

    @property
    def sending(self) -> OnConflict:
        """What a send does that does not get the key."""
        return self.on_conflict or "log"

    @property
    def running(self) -> OnConflict:
        """What a run does that does not get its turn; nothing replaces a job that runs."""
        if self.on_conflict in (None, "replace"):
            return "reschedule"
        if self.strategy == "until_and_while_executing" and self.on_conflict == "log":
            return "reschedule"  # it was taken on when it was sent; to drop it now would lose it
        return self.on_conflict

    def check(self, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse a key of arguments that the actor does not have."""
        if self.key is not None:
            check_key(actor, self.key)

    def key_of(self, actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any]) -> str:
        """Return the key of a message; positional and named arguments, and defaults, are one.

        Raises what the function given as `key` raises, and `ValueError` for a result that is no
        JSON.
        """
        return render_key(actor.actor_name, actor, message, self.key)
