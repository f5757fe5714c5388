"""The fixture `jobs` without PostgreSQL."""

from typing import Any

from workshed.testing import enqueued as rows
from workshed.testing.enqueued import EnqueuedJob
from workshed.testing.errors import NeedsDatabaseError
from workshed.testing.jobs import Jobs
from workshed.testing.sends import SentJobs
from workshed.transport.stub import Stub


class PlainJobs(SentJobs):
    """Records plain sends; any other use raises an error that says what is missing."""

    def __init__(self, broker: Stub, why: str) -> None:
        """Keep `why` there is no PostgreSQL."""
        self._broker = broker
        self._reason = why

    @property
    def enqueued(self) -> list[EnqueuedJob]:
        """The sent messages, oldest first."""
        return [rows.to_enqueued(message) for message in self._broker.sent]

    def __getattr__(self, name: str) -> Any:
        """Raise `NeedsDatabaseError` for an attribute that only `Jobs` has."""
        if hasattr(Jobs, name):
            raise NeedsDatabaseError(f"jobs.{name}", self._reason)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
