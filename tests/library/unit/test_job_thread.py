"""Calls of a coroutine in the thread that waits for it, also if either is interrupted."""

import asyncio
import contextlib
import queue
import threading

import pytest

from workshed.database.job_thread import JobThread, ThreadBlock, own_thread
from workshed.interrupts import thread_gate


class Struck(BaseException):
    """An interrupt, as a time limit raises it."""


class StrikingQueue(queue.SimpleQueue):
    """Interrupts the thread that has just taken a call."""

    def get(self, **options):
        """Return the call, unless the interrupt is raised here."""
        call = super().get(**options)
        thread_gate().interrupt(Struck)
        return call


def test_an_interrupt_loses_no_call():
    """Without `defer` in `serve`, its coroutine would wait for an answer for ever."""
    thread = JobThread()
    thread._calls = StrikingQueue()

    calls = []

    def serve():
        with thread.accept_calls():
            calls.append(thread.submit(list))
            thread.serve()

    with pytest.raises(Struck):
        serve()

    assert isinstance(calls[0].result.exception(timeout=0), Struck)


def test_a_task_that_is_cancelled_while_it_leaves_a_block_goes_on_afterwards():
    """Otherwise its next block would find this one open, in the middle of a commit."""
    leaving, go_on, left = threading.Event(), threading.Event(), []

    @contextlib.contextmanager
    def leave_slowly():
        yield
        leaving.set()
        go_on.wait(60)
        left.append(True)

    async def use(thread):
        async with ThreadBlock(thread) as block:
            await block.enter(leave_slowly())

    async def cancel_twice():
        async with own_thread() as thread:
            task = asyncio.create_task(use(thread))
            await asyncio.to_thread(leaving.wait, 60)
            for _ in range(2):
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=0.1)
                assert not done
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (left, thread.blocks) == ([True], [])

    asyncio.run(cancel_twice())


def test_a_cancel_request_never_meets_the_next_call():
    """It takes a while, and the call that it is for may end by itself meanwhile."""
    requested, running, go_on = threading.Event(), threading.Event(), threading.Event()
    events = []

    def run():
        running.set()
        requested.wait(60)

    def request():
        requested.set()
        go_on.wait(60)
        events.append("cancelled")

    async def cancel():
        async with own_thread() as thread, ThreadBlock(thread) as block:
            task = asyncio.create_task(block.call_until_cancelled(request, run))
            await asyncio.to_thread(running.wait, 60)
            task.cancel()
            await asyncio.to_thread(requested.wait, 60)
            other = asyncio.create_task(block.call(events.append, "next"))
            await asyncio.wait([task, other], timeout=0.1)
            go_on.set()
            await asyncio.wait([task, other])
            assert task.cancelled()

    asyncio.run(cancel())

    assert events == ["cancelled", "next"]


def test_no_cancel_request_is_sent_for_a_call_that_has_not_begun():
    running, go_on, requests = threading.Event(), threading.Event(), []

    def run():
        running.set()
        go_on.wait(60)

    async def cancel():
        async with own_thread() as thread, ThreadBlock(thread) as block:
            first = asyncio.create_task(block.call(run))
            await asyncio.to_thread(running.wait, 60)
            request = "request"
            second = asyncio.create_task(
                block.call_until_cancelled(lambda: requests.append(request), list)
            )
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go_on.set()
            await first

    asyncio.run(cancel())

    assert requests == []
