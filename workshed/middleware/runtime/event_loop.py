"""The event loop on which async actors run."""

import asyncio
import functools
import inspect
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import dramatiq
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.threading import Interrupt
from dramatiq.worker import Worker

from workshed.database.job_thread import JobThread

logger = logging.getLogger(__name__)

Function = Callable[..., Any]
R = TypeVar("R")


END_S = 1.0
"""How long an interrupted coroutine may take to end."""


class JobEventLoop(EventLoopThread):
    """An event loop whose coroutines run blocking calls in the threads that wait for them."""

    _is_ending = False

    def run(self) -> None:
        """Run the loop until `stop`.

        asyncio ends a loop when a task on it raises `SystemExit` or `KeyboardInterrupt`. Here the
        loop goes on, because all async jobs of the process share it, and their threads wait for it.
        The job that awaits the task gets the error.
        """
        try:
            while not self._is_ending:
                self._run_once()
        finally:
            self.loop.close()

    def stop(self) -> None:
        """Stop the loop, and wait until it has."""
        self._is_ending = True
        super().stop()  # type: ignore[no-untyped-call]  # dramatiq's

    def run_coroutine(self, coro: Awaitable[R]) -> R:
        """Run a coroutine on the loop, and its calls in this thread.

        An interrupt of this thread cancels the coroutine, whose calls are run until it has ended.
        """
        if not self.is_alive():
            raise RuntimeError("the event loop has stopped, because its process is ending")
        thread = JobThread()
        task: asyncio.Task[Any] | None = None

        async def run() -> R:
            nonlocal task
            task = asyncio.current_task()
            return await coro

        def cancel() -> None:
            (task or future).cancel()

        with thread.accept_calls():
            future = asyncio.run_coroutine_threadsafe(run(), self.loop)
            # Not by the coroutine itself: another task could wait for this thread before the result
            # is there, and this thread for the result.
            future.add_done_callback(lambda _: thread.finish())
            try:
                thread.serve()
                return future.result()
            except Interrupt:
                self.loop.call_soon_threadsafe(cancel)
                thread.serve(within_s=END_S)
                raise

    def _run_once(self) -> None:
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as err:
            self.logger.warning("a coroutine raised %r; the event loop goes on", err)


class EventLoop(Middleware):
    """Run `async def` actors on one event loop, which starts with the first of them.

    A worker thread waits for each of them, so your middleware needs nothing special for async
    actors. The thread also runs the blocking calls that you pass to `db.run_in_job_thread`. Without
    async actors, no loop starts; dramatiq's own `AsyncIO` starts one in every worker.

    *Order:* before anything wraps the function.
    """

    def __init__(self) -> None:
        self._start_lock = threading.Lock()

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Let an async actor start the loop if there is none."""
        if not inspect.iscoroutinefunction(inspect.unwrap(actor.fn)):
            return
        actor.fn = self._wrap(actor.fn)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Stop the loop."""
        loop = get_event_loop_thread()
        if loop is not None:
            loop.stop()  # type: ignore[no-untyped-call]  # dramatiq's
            set_event_loop_thread(None)

    def _wrap(self, function: Function) -> Function:
        @functools.wraps(function)
        def looped(*args: Any, **kwargs: Any) -> Any:
            with self._start_lock:
                if get_event_loop_thread() is None:
                    loop = JobEventLoop(logger)
                    loop.daemon = True  # it must not delay the exit of the process
                    loop.start(timeout=10)
                    set_event_loop_thread(loop)
            return function(*args, **kwargs)

        return looped
