"""The fixture `jobs` without PostgreSQL."""

from typing import Any

from workshed.testing import enqueued as rows
from workshed.testing.enqueued import Enqueued
from workshed.testing.errors import NeedsDatabaseError
from workshed.testing.jobs import Jobs
from workshed.testing.sends import Sends
from workshed.transport.stub import Stub


class PlainJobs(Sends):
    """Records plain sends; any other use raises an error that says what is missing."""

    def __init__(self, broker: Stub, why: str) -> None:
        """Keep `why` there is no PostgreSQL."""
        self._broker = broker
        self._why = why

    @property
    def enqueued(self) -> list[Enqueued]:
        """The sent messages, oldest first."""
        return [rows.of_plain_send(message) for message in self._broker.sent]

    def __getattr__(self, name: str) -> Any:
        """Raise `NeedsDatabaseError` for an attribute that only `Jobs` has."""
        if hasattr(Jobs, name):
            raise NeedsDatabaseError(f"jobs.{name}", self._why)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
