"""Blocking calls of a coroutine, run in the thread that waits for it.

A connection of psycopg, its transaction and the interrupts of a time limit belong to one thread.
That thread is idle while its coroutine runs on an event loop, so it runs these calls.
"""

import asyncio
import contextlib
import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import Context, ContextVar, copy_context
from typing import Any, Generic, ParamSpec, Self, TypeVar

from workshed.errors import OpenTransactionError
from workshed.interrupts import raise_later, thread_gate

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""How often a waiting thread looks for an interrupt."""

_current: "ContextVar[JobThread | None]" = ContextVar("thread of the async job", default=None)


def current_job_thread() -> "JobThread | None":
    """Return the thread that waits for this coroutine, if there is one."""
    return _current.get()


class JobThread:
    """The current thread, while it waits for a coroutine and runs the calls of it."""

    def __init__(self) -> None:
        self.blocks: list[ThreadBlock] = []
        """The blocks that are open."""
        self._others: list[JobThread] = []
        """Threads of other blocks of this job."""
        self._thread = threading.get_ident()
        self._gate = thread_gate()
        self._calls: queue.SimpleQueue[ThreadCall[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_finished = self._is_closed = False

    @property
    def is_current(self) -> bool:
        """Whether this is the thread of the caller."""
        return threading.get_ident() == self._thread

    @contextmanager
    def accept_calls(self) -> Generator[None]:
        """Accept calls of coroutines that are started in the block.

        Afterwards each call is refused, also of a coroutine that goes on after an interrupt, so
        that it does not reach a connection that is another job's by then.
        """
        token = _current.set(self)
        try:
            with self._gate.defer():  # otherwise a second interrupt could come before `_close`
                try:
                    with self._gate.allow():
                        yield
                except BaseException as err:
                    self._close(err)
                    raise
                else:
                    self._close(None)
        finally:
            _current.reset(token)

    def serve(self, *, within_s: float | None = None) -> bool:
        """Run calls until `finish`; return whether that came in time.

        An interrupt is raised in a call or between two of them, so that each call gets an answer.
        """
        until = None if within_s is None else time.monotonic() + within_s
        with self._gate.defer():
            while not self._is_finished:
                if until is not None and time.monotonic() > until:
                    return False
                with contextlib.suppress(queue.Empty):
                    call = self._calls.get(timeout=POLL_S)
                    if call is not None:
                        call.run(self._gate.allow())
                with self._gate.allow():
                    pass
        return True

    def finish(self) -> None:
        """Let `serve` return; the coroutine has ended."""
        self._is_finished = True
        self._calls.put(None)

    def submit(self, function: Callable[[], R]) -> "ThreadCall[R]":
        """Let this thread call a function; raises `OpenTransactionError` if its job has ended."""
        call = ThreadCall(function)
        with self._lock:
            if self._is_closed:
                raise job_has_ended()
            self._calls.put(call)
        executor = waiting_executor()
        if executor is not None:
            with contextlib.suppress(RuntimeError):  # it does not wait any more
                executor.submit(self._run_waiting)
        return call

    def open(self, block: "ThreadBlock") -> None:
        """Leave this block at the end of the job; raises `OpenTransactionError` after it."""
        with self._lock:
            if self._is_closed:
                raise job_has_ended()
            self.blocks.append(block)

    def adopt(self, other: "JobThread") -> None:
        """Finish another thread at the end of the job; raises `OpenTransactionError` after it."""
        with self._lock:
            if self._is_closed:
                raise job_has_ended()
            self._others.append(other)

    def release(self, other: "JobThread") -> None:
        """Forget another thread, which has finished."""
        self._others.remove(other)

    def _run_waiting(self) -> None:
        """Run the calls that wait, within a call that waits for code which has submitted them."""
        if not self.is_current:
            return
        try:
            with self._gate.defer(), contextlib.suppress(queue.Empty):
                while True:
                    call = self._calls.get_nowait()
                    if call is not None:
                        with contextlib.suppress(BaseException):  # the caller has it
                            call.run(self._gate.allow())
        except BaseException as err:  # noqa: BLE001 -- an interrupt, which `asgiref` would ignore
            raise_later(type(err))

    def _close(self, error: BaseException | None) -> None:
        with self._lock:
            self._is_closed = True
        self._refuse_waiting()
        was_open = bool(self.blocks or self._others)
        for block in reversed(self.blocks):
            block.abandon(error or job_has_ended())
        for other in list(self._others):
            other.finish()
        if was_open and error is None:
            raise OpenTransactionError(
                "the job has ended, but not the task in which it opened a session, whose writes "
                "are undone: await its tasks, for example in an asyncio.TaskGroup"
            )

    def _refuse_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None and call.result.set_running_or_notify_cancel():
                    call.result.set_exception(job_has_ended())


def waiting_executor() -> Any | None:
    """Return what runs calls in the thread that waits for this code by `asgiref`, if one does.

    `async_to_sync` blocks the thread in which it is called, which may be that of a job. Django
    calls asynchronous receivers of signals in this way.
    """
    # Another thread may be in the middle of importing it.
    bridge: Any = getattr(sys.modules.get("asgiref.sync"), "AsyncToSync", None)
    return None if bridge is None else getattr(bridge.executors, "current", None)


def job_has_ended() -> OpenTransactionError:
    """Return the error of a coroutine that goes on after its job."""
    return OpenTransactionError("the job of this task has ended, and its transactions with it")


class ThreadCall(Generic[R]):
    """A call for another thread."""

    def __init__(self, function: Callable[[], R]) -> None:
        self.result: Future[R] = Future()
        self._function = function
        self._lock = threading.Lock()
        self._has_ended = False

    def run(self, interruptible: AbstractContextManager[None]) -> None:
        """Call the function and store what it returns or raises.

        Raises an interrupt, which ends the job, and no other error: not that of a cancelled task
        for which the function has waited, nor that of `sys.exit()`.
        """
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            returned = self._call(interruptible)
        except (Exception, asyncio.CancelledError, SystemExit) as err:  # noqa: BLE001 -- the caller's
            self.result.set_exception(err)
        except BaseException as err:
            self.result.set_exception(err)
            raise
        else:
            self.result.set_result(returned)

    def cancel(self, end: Callable[[], object]) -> None:
        """Call `end` in this other thread, to end the function, unless it has ended.

        The next call waits for `end`, which cannot end that one by mistake.
        """
        with self._lock:
            if not self._has_ended:
                end()

    def _call(self, interruptible: AbstractContextManager[None]) -> R:
        try:
            with interruptible:
                return self._function()
        finally:
            with self._lock:
                self._has_ended = True


class ThreadBlock:
    """Context managers that are entered and left in the thread of a job.

    They are left even if the task is cancelled while they are entered, or never ends. The calls of
    a block share one context, because blocks of several tasks may alternate in the thread.
    """

    def __init__(self, thread: JobThread) -> None:
        self.thread = thread
        self._context: Context = copy_context()
        self._stack = ExitStack()

    async def __aenter__(self) -> Self:
        """Begin the block; without a pause, so that no other task begins one meanwhile."""
        self.thread.open(self)
        return self

    async def __aexit__(self, *error: object) -> bool:
        """Leave all context managers."""
        return await self._await_call(functools.partial(self._leave, *error), is_optional=False)

    async def enter(self, manager: AbstractContextManager[R]) -> R:
        """Enter a context manager, until the end of the block."""
        return await self.call(self._stack.enter_context, manager)

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in the thread; if the task is cancelled, wait for its end all the same.

        Something that was begun is then left in order. A call that has not begun is left out.
        """
        return await self._await_call(functools.partial(function, *args, **kwargs))

    async def call_until_cancelled(
        self, cancel: Callable[[], object], function: Callable[P, R], *args: P.args, **kw: P.kwargs
    ) -> R:
        """Likewise, but if the task is cancelled, call `cancel` in another thread to end it."""
        return await self._await_call(functools.partial(function, *args, **kw), cancel)

    async def _await_call(
        self,
        function: Callable[[], R],
        cancel: Callable[[], object] | None = None,
        *,
        is_optional: bool = True,
    ) -> R:
        call = self.thread.submit(lambda: self._context.run(function))
        answer = asyncio.wrap_future(call.result)
        try:
            await asyncio.wait([answer])
        except asyncio.CancelledError:
            if is_optional and call.result.cancel():
                raise
            if cancel is not None:
                asyncio.get_running_loop().run_in_executor(None, call.cancel, cancel)
            await wait_for_end(answer)
            raise
        return answer.result()

    def abandon(self, error: BaseException) -> None:
        """Leave all context managers, in the thread, before the task does."""
        try:
            self._context.run(self._leave, type(error), error, error.__traceback__)
        except Exception as err:
            if err is not error:
                logger.exception("a transaction of an async job could not be closed")

    def _leave(self, *error: Any) -> bool:
        self.thread.blocks.remove(self)
        return bool(self._stack.__exit__(*error))


async def wait_for_end(running: "asyncio.Future[Any]") -> None:
    """Wait until a future is done, also if the task is cancelled again meanwhile."""
    while not running.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([running])
    if not running.cancelled():
        running.exception()  # otherwise asyncio reports that it was never retrieved


@contextlib.asynccontextmanager
async def own_thread() -> AsyncGenerator[JobThread]:
    """Run calls in a thread of their own, until the end of the block, or of the job around it."""
    job = _current.get()
    thread = _start_thread()
    try:
        if job is not None:
            job.adopt(thread)
        try:
            yield thread
        finally:
            if job is not None:
                job.release(thread)
    finally:
        thread.finish()


def _start_thread() -> JobThread:
    started: Future[JobThread] = Future()

    def run() -> None:
        thread = JobThread()
        # The error is that of the task in which the job has left the block open.
        with contextlib.suppress(OpenTransactionError), thread.accept_calls():
            started.set_result(thread)
            thread.serve()

    threading.Thread(target=copy_context().run, args=[run], daemon=True).start()
    return started.result()


async def run_in_job_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Await a blocking function, which is called in the thread of this async job.

    In an actor with `once=True`, `db.transaction()`, `job_session()` and Django's ORM write in the
    transaction of the job there. Outside a job, the function gets any thread.
    """
    thread = _current.get()
    if thread is None:
        return await asyncio.to_thread(function, *args, **kwargs)
    return await ThreadBlock(thread).call(function, *args, **kwargs)


def move_to_job_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function in the thread of the job, and block this one until it has ended."""
    thread = _current.get()
    if thread is None or thread.is_current:
        return function(*args, **kwargs)
    context = copy_context()
    return thread.submit(lambda: context.run(function, *args, **kwargs)).result.result()
