"""The limits of an actor, and the slots that one of its jobs asks for."""

from datetime import timedelta
from typing import Any, Self

import dramatiq

from workshed.jobs.locks.limits import LimitKind, SlotRequest
from workshed.middleware.options.backoff import LONGEST_SPAN
from workshed.middleware.options.keys import Key, check_key, render_key
from workshed.value_class import frozen_class

LARGEST_SIZE = 1_000_000
"""Each start is a row until it leaves its window."""
SHORTEST_SPAN = timedelta(milliseconds=1)
LONGEST_NAME = 100
"""Bytes."""


@frozen_class
class Limit:
    """Limit how many jobs run concurrently, or how many start per time window, per key.

    `Limit.concurrent(5)`: at most five at a time across all workers.
    `Limit.window(100, per=timedelta(minutes=1))`: at most 100 starts in any minute.
    `Limit.bucket(10, per=timedelta(seconds=1), burst=20)`: ten starts a second, and up to twenty at
    once after a pause.

    `key`: the arguments whose values each have a limit of their own (for example `["tenant_id"]`),
    or a function of the arguments that returns the key. By default all jobs share one limit.
    `share`: the arguments that name on whose behalf a job runs. Free slots are divided evenly among
    the shares with waiting jobs; a share that waits alone may have them all.
    `name`: the name of a limit that several actors share. By default each actor has its own.
    """

    kind: LimitKind
    size: int
    span: timedelta | None = None
    key: Key | None = None
    share: Key | None = None
    name: str | None = None

    @classmethod
    def concurrent(
        cls, most: int, *, key: Key | None = None, share: Key | None = None, name: str | None = None
    ) -> Self:
        """Let at most `most` jobs run at a time."""
        _check_number("concurrent", most)
        return cls("concurrent", most, None, key, share, name)

    @classmethod
    def window(
        cls,
        most: int,
        *,
        per: timedelta,
        key: Key | None = None,
        share: Key | None = None,
        name: str | None = None,
    ) -> Self:
        """Let at most `most` jobs start within any span of length `per`."""
        _check_number("window", most)
        _check_span("window", per)
        return cls("window", most, per, key, share, name)

    @classmethod
    def bucket(
        cls,
        rate: int,
        *,
        per: timedelta,
        burst: int | None = None,
        key: Key | None = None,
        share: Key | None = None,
        name: str | None = None,
    ) -> Self:
        """Let `rate` jobs start per span; unused starts add up to `burst`, by default `rate`."""
        _check_number("bucket", rate)
        _check_span("bucket", per)
        if burst is not None:
            _check_number("bucket: burst", burst)
        each = -((-per) // rate)  # rounded up, so that the rate is never exceeded
        return cls("bucket", burst or rate, each, key, share, name)

    def __post_init__(self) -> None:
        """Refuse limits that cannot work, when the actor is declared."""
        if self.name is not None and not 0 < len(self.name.encode()) <= LONGEST_NAME:
            raise ValueError(f"Limit: name={self.name!r:.50} must have 1 to {LONGEST_NAME} bytes")
        if self.share is None or callable(self.share) or callable(self.key):
            return
        if not self.share or set(self.share) <= set(self.key or ()):
            raise ValueError(
                f"Limit: share={list(self.share)!r}: each key has only one of these, so there is "
                "nothing to share; name other arguments, or leave it out"
            )

    def title(self, actor_name: str) -> str:
        """Return the prefix of its keys; it must be unique among an actor's limits."""
        return f"{self.name or actor_name}:{self.kind}"

    def check(self, actor: dramatiq.Actor[..., Any]) -> None:
        """Refuse keys that name arguments the actor does not have."""
        for option, key in (("key", self.key), ("share", self.share)):
            if key is not None:
                check_key(actor, key, option)

    def request(
        self, actor: dramatiq.Actor[..., Any], message: dramatiq.Message[Any]
    ) -> SlotRequest:
        """Return the slot that a message needs of this limit.

        Raises what a function given as `key` or `share` raises, and `ValueError` for a result that
        is not JSON.
        """
        key = title = self.title(actor.actor_name)
        if self.key is not None:
            key = render_key(title, actor, message, self.key)
        share = ""
        if self.share is not None:
            share = render_key("share", actor, message, self.share)
        return SlotRequest(key, self.kind, self.size, self.span, share)


def _check_number(what: str, number: object) -> None:
    if type(number) is not int or not 1 <= number <= LARGEST_SIZE:
        raise ValueError(f"Limit.{what}: {number!r} is not a whole number from 1 to {LARGEST_SIZE}")


def _check_span(what: str, span: object) -> None:
    if not isinstance(span, timedelta) or not SHORTEST_SPAN <= span <= LONGEST_SPAN:
        raise ValueError(f"Limit.{what}: per={span!r}: must be a timedelta from 1 ms to a year")
