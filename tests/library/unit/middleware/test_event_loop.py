"""The event loop of async actors outlives the errors of their coroutines."""

import asyncio
import logging

import pytest

from workshed.middleware.runtime.event_loop import JobEventLoop

HANGS_S = 60


@pytest.fixture
def loop():
    """A loop that runs."""
    thread = JobEventLoop(logging.getLogger(__name__))
    thread.start(timeout=HANGS_S)
    yield thread
    thread.stop()


async def leave(kind):
    raise kind("this coroutine leaves")


async def leave_in_task(kind):
    await asyncio.create_task(leave(kind))


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("run", [leave, leave_in_task])
def test_a_coroutine_that_exits_ends_neither_the_loop_nor_its_caller(run, kind, loop):
    """asyncio ended the loop, and every async job of the process waited forever."""
    with pytest.raises(kind, match="this coroutine leaves"):
        loop.run_coroutine(run(kind))

    assert loop.run_coroutine(asyncio.sleep(0, "goes on")) == "goes on"
