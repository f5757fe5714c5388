"""How long a server that keeps contents is waited for."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class StorageTimeouts:
    """One that is dead is given up after `retries` and, at most, one more `answer`."""

    connect: timedelta = timedelta(seconds=5)
    answer: timedelta = timedelta(seconds=15)
    """Longest wait for a reply, and for each further piece of it. A part of 5 MB is sent within
    it, or not at all."""
    retries: timedelta = timedelta(seconds=10)
    """How long after the first attempt a last one may begin."""
    whole: timedelta = timedelta(minutes=5)
    """Longest time for a request and all of its reply, however it trickles."""


USUAL = StorageTimeouts()
