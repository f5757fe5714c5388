"""How long a thread waits for PostgreSQL."""

from contextlib import AbstractContextManager
from contextvars import ContextVar

ANSWER_S = 30.0
"""How long to wait for the answer to a statement that is known to be short."""

answer_limit: ContextVar[float | None] = ContextVar("limit", default=None)
"""How long this thread waits for the answer to a statement; `None`: forever."""
borrower_limit: ContextVar[float | None] = ContextVar("patience", default=None)
"""How long the borrower of a connection waits for an answer on it; `None`: forever."""


class WaitLimit:
    """A block in which this thread waits at most `within_s` seconds for each statement.

    A class, because a generator costs more and each job of a worker enters one.
    """

    __slots__ = ("_token", "_within_s")

    def __init__(self, within_s: float | None) -> None:
        """Take a limit in seconds; `None`: wait forever."""
        self._within_s = within_s

    def __enter__(self) -> None:
        """Begin the block."""
        self._token = answer_limit.set(self._within_s)

    def __exit__(self, *_: object) -> None:
        """End the block; the limit of the code around it holds again."""
        answer_limit.reset(self._token)


def limited_wait() -> AbstractContextManager[None]:
    """Limit the wait for each statement of this thread to `ANSWER_S` inside the block.

    After that, raises `psycopg.OperationalError` and closes the connection.
    """
    return WaitLimit(ANSWER_S)
