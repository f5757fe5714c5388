"""How long each step of an exchange with a mail server may take, as RFC 5321, 4.5.3.2 has it.

The reply after the text is the one that takes long: servers look for viruses and spam before it,
and a client that leaves sooner sends a mail again that was accepted.
"""

import time
from datetime import timedelta
from enum import Enum
from typing import Self

# No step begins later than this many times the longest wait for one reply, where that is set; a
# server that is slow at each of the dozen steps of a login over STARTTLS is left before it has the
# mail.
STEPS = 4
BEGINS_WITHIN = timedelta(minutes=15)
"""No step begins later than this, where each takes what the RFC gives it."""
MARGIN = timedelta(seconds=10)
"""From the commit of a claim to that of the outcome, beside what the mail server takes."""
LEASE = timedelta(minutes=2)
"""The longest claim of a mail: the process that delivers it renews it for as long as it lives."""


class Step(Enum):
    """A step, and the longest wait for its end."""

    CONNECT = timedelta(seconds=30)
    """Until TCP has a connection, of which the RFC says nothing."""
    COMMAND = timedelta(minutes=5)
    """The greeting, and the reply to EHLO, AUTH, MAIL and RCPT."""
    DATA = timedelta(minutes=2)
    TEXT = timedelta(minutes=3)
    """Until a block of the text is sent."""
    ANSWER = timedelta(minutes=10)
    """The reply after the final dot."""


def longest(each: timedelta | None) -> timedelta:
    """Bound the time one mail takes: the last step begins in time and waits for one reply."""
    if each is None:
        return BEGINS_WITHIN + max(step.value for step in Step)
    return (STEPS + 1) * each


def lease(each: timedelta | None) -> timedelta:
    """Return how long a claim lasts that is not renewed."""
    return min(longest(each) + MARGIN, LEASE)


class MailDeadline:
    """The time one mail has: so long for each step, and none begins after `ends_at_s`."""

    def __init__(self, each: timedelta | None, ends_at_s: float) -> None:
        """Take the longest wait for a step; `None`: what the RFC gives it."""
        self.ends_at_s = ends_at_s
        self.step_s = 0.0
        """What the last step that has begun might take."""
        self._each = each

    @classmethod
    def start(cls, each: timedelta | None) -> Self:
        """Begin to count."""
        span = BEGINS_WITHIN if each is None else STEPS * each
        return cls(each, time.monotonic() + span.total_seconds())

    def next_step_s(self, step: Step) -> float:
        """Return the seconds the next step may take; raises `TimeoutError` if it may not begin."""
        self.step_s = (self._each or step.value).total_seconds()
        if time.monotonic() >= self.ends_at_s:
            raise TimeoutError
        return self.step_s
