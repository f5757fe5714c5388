"""Two ways to wait for RabbitMQ and PostgreSQL, so that the code around them is written once."""

import asyncio
import contextlib
import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from workshed import db
from workshed.transport.errors import BrokerUnreachableError
from workshed.transport.latch import Latch

T = TypeVar("T")


class WaitStrategy(Protocol):
    """How a sender waits."""

    async def wait_for(self, latch: Latch, timeout_s: float) -> bool:
        """Wait for the latch, at most `timeout_s`; return whether it is open."""

    async def run_database_work(self, work: Callable[[], T]) -> T:
        """Run work that waits for PostgreSQL."""


class BlockingWait:
    """The thread waits. No coroutine is ever suspended, so `run_blocking` needs no event loop."""

    async def wait_for(self, latch: Latch, timeout_s: float) -> bool:
        """Block on the latch."""
        return latch.wait(timeout_s)

    async def run_database_work(self, work: Callable[[], T]) -> T:
        """Run it in this thread."""
        return work()


class EventLoopWait:
    """The task waits, without blocking its event loop."""

    async def wait_for(self, latch: Latch, timeout_s: float) -> bool:
        """Wait for a callback from the thread that opens the latch."""
        if not latch.is_open:
            loop = asyncio.get_running_loop()
            opened = loop.create_future()
            latch.add_callback(functools.partial(_wake, loop, opened))
            await asyncio.wait([opened], timeout=max(timeout_s, 0.0))
        return latch.is_open

    async def run_database_work(self, work: Callable[[], T]) -> T:
        """Run it in another thread; cancelling the task does not stop it once it has begun.

        Work in the transaction of a job goes to the thread of the job at once: from a third thread,
        a thread that waits by `async_to_sync` for the sender could not be reached.
        """
        if db.joined_connection() is None:
            return await asyncio.to_thread(work)
        return await db.run_in_job_thread(work)


def refuse_while_finalizing() -> None:
    """Raise `BrokerUnreachableError` in a `__del__` that runs as the interpreter shuts down.

    No other thread runs by then, so a `send` would wait forever or crash the interpreter.
    """
    if sys.is_finalizing():
        raise BrokerUnreachableError(
            "the interpreter is shutting down; nothing was sent. "
            "Send in a function that you register with atexit instead of in __del__"
        )


def run_blocking(steps: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end without an event loop; it may wait only through `Blocking`."""
    try:
        steps.send(None)
    except StopIteration as ended:
        result: T = ended.value
        return result
    steps.close()
    raise RuntimeError("this coroutine waits by other means than `Blocking`")


def _wake(loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop was closed, so nothing waits any more
        loop.call_soon_threadsafe(_set_opened, opened)


def _set_opened(opened: asyncio.Future[None]) -> None:
    if not opened.done():
        opened.set_result(None)
