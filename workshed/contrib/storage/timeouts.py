"""How long to wait for a storage server."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class StorageTimeouts:
    """A dead server is given up after `retries` plus at most one more `answer`."""

    connect: timedelta = timedelta(seconds=5)
    answer: timedelta = timedelta(seconds=15)
    """Longest wait for a reply and for each further piece of it. A part of 5 MB must also be sent
    within this time."""
    retries: timedelta = timedelta(seconds=10)
    """How long after the first attempt the last one may begin."""
    whole: timedelta = timedelta(minutes=5)
    """Longest time for a request and its whole reply, however slowly it arrives."""


DEFAULT_TIMEOUTS = StorageTimeouts()
