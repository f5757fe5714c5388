"""How long a thread waits for PostgreSQL."""

import time
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Self

ANSWER_S = 30.0
"""How long to wait for the answer to a statement that is known to be short."""

answer_limit: ContextVar[float | None] = ContextVar("limit", default=None)
"""How long this thread waits for the answer to a statement; `None`: forever."""
borrower_limit: ContextVar[float | None] = ContextVar("patience", default=None)
"""How long the borrower of a connection waits for an answer on it; `None`: forever."""
_wait_until: ContextVar[float | None] = ContextVar("wait_until", default=None)
"""When this thread stops waiting, by `time.monotonic`; `None`: never."""
_statement_limit: ContextVar[float | None] = ContextVar("statement_limit", default=None)
"""How long a thread that has no deadline any more waits for each statement."""


class WaitCounter:
    """How often the threads of this process have waited for PostgreSQL.

    It may miss one of two waits that begin at the same instant.
    """

    count = 0

    def add(self) -> None:
        """Count a wait of this thread."""
        self.count += 1


database_waits = WaitCounter()


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


class WaitDeadline:
    """A block in which a thread waits for PostgreSQL at most so long, for all statements together.

    A request begins it when it arrives, so that the time in which it waits for a thread counts. It
    holds in the threads that the block starts by `asyncio.to_thread`, `anyio` or Starlette.
    """

    def __init__(self, within_s: float | None = None) -> None:
        """Take the limit in seconds; `None`: that of the code around, until it is replaced."""
        self._within_s = within_s

    def __enter__(self) -> Self:
        """Begin the block."""
        self._until = _wait_until.set(_wait_until.get())
        self._limit = _statement_limit.set(_statement_limit.get())
        if self._within_s is not None:
            self.restart(self._within_s)
        return self

    def restart(self, within_s: float) -> None:
        """Allow so many seconds from now on, until the end of the block."""
        _wait_until.set(time.monotonic() + within_s)

    def replace_by_statement_limit(self, within_s: float) -> None:
        """Allow so many seconds for each statement instead, until the end of the block.

        For work that may have any number of statements, such as one for each of many jobs.
        """
        _wait_until.set(None)
        _statement_limit.set(within_s)

    def __exit__(self, *_: object) -> None:
        """End the block; the deadline of the code around it holds again."""
        _wait_until.reset(self._until)
        _statement_limit.reset(self._limit)


def remaining_wait() -> float | None:
    """Return how many seconds this thread may wait for the next answer; `None`: forever."""
    until = _wait_until.get()
    left_s = None if until is None else max(until - time.monotonic(), 0.0)
    limits = [answer_limit.get(), _statement_limit.get(), left_s]
    return min((limit_s for limit_s in limits if limit_s is not None), default=None)


def limited_wait() -> AbstractContextManager[None]:
    """Limit the wait for each statement of this thread to `ANSWER_S` inside the block.

    After that, raises `psycopg.OperationalError` and closes the connection.
    """
    return WaitLimit(ANSWER_S)
