"""How long each step of an exchange with a mail server may take, by RFC 5321, 4.5.3.2.

The reply after the text takes longest, because servers scan for viruses and spam before it. A
client that gives up sooner sends a mail again that was accepted.
"""

import time
from datetime import timedelta
from enum import Enum
from typing import Self

# No step begins later than this many times the longest wait for one reply, if that is set. A server
# that is slow at each of the dozen steps of a login over STARTTLS is given up before it has the
# mail.
STEPS = 4
BEGINS_WITHIN = timedelta(minutes=15)
"""No step begins later than this, if each may take the RFC's limit."""
CLAIM_MARGIN = timedelta(seconds=10)
"""Time around the exchange with the mail server, from the commit of the claim to the outcome's."""
LONGEST_CLAIM = timedelta(minutes=2)
"""The longest claim of a mail; the delivering process renews it for as long as it lives."""


class SmtpStep(Enum):
    """A step, and the longest wait for its end."""

    CONNECT = timedelta(seconds=30)
    """Until the TCP connection is open; the RFC sets no limit."""
    COMMAND = timedelta(minutes=5)
    """The greeting, and the reply to EHLO, AUTH, MAIL and RCPT."""
    DATA = timedelta(minutes=2)
    TEXT = timedelta(minutes=3)
    """Until a block of the text is sent."""
    ANSWER = timedelta(minutes=10)
    """The reply after the final dot."""


def longest_delivery(each: timedelta | None) -> timedelta:
    """Return the most time that one mail takes, including the wait for the last reply."""
    if each is None:
        return BEGINS_WITHIN + max(step.value for step in SmtpStep)
    return (STEPS + 1) * each


def claim_lifetime(each: timedelta | None) -> timedelta:
    """Return how long a claim lasts if it is not renewed."""
    return min(longest_delivery(each) + CLAIM_MARGIN, LONGEST_CLAIM)


class MailDeadline:
    """The time limit of one mail: one for each step, and no step begins after `ends_at_s`."""

    def __init__(self, each: timedelta | None, ends_at_s: float) -> None:
        """Take the longest wait for a step; `None`: the RFC's limits."""
        self.ends_at_s = ends_at_s
        self.step_s = 0.0
        """The limit of the last step that has begun."""
        self._each = each

    @classmethod
    def start(cls, each: timedelta | None) -> Self:
        """Start the clock."""
        span = BEGINS_WITHIN if each is None else STEPS * each
        return cls(each, time.monotonic() + span.total_seconds())

    def begin_step(self, step: SmtpStep) -> float:
        """Return the seconds that the next step may take; raises `TimeoutError` if too late."""
        self.step_s = (self._each or step.value).total_seconds()
        if time.monotonic() >= self.ends_at_s:
            raise TimeoutError
        return self.step_s
