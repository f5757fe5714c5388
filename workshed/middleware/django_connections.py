"""Keep the database connections of a Django application usable from one job to the next."""

import functools
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

import dramatiq
from dramatiq.asyncio import async_to_sync
from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker

from workshed.database.job_thread import JobThread, current_job_thread, waiting_executor

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


async def _no_job() -> None: ...


ASYNC_WRAPPER_CODE = async_to_sync(_no_job).__code__
"""The code of dramatiq's wrapper around the function of each async actor."""


class DjangoConnections(Middleware):
    """Check Django's database connections before each job and close them after it.

    Django keeps one connection per thread and opens a new one only if the old one was closed. In a
    web process, Django calls `close_old_connections()` around each request. Without that call, a
    thread whose connection was cut fails every later job. This middleware does the same around each
    job: it closes connections that PostgreSQL has ended or that are older than `CONN_MAX_AGE`. The
    others are checked when the job first uses them, as with `CONN_HEALTH_CHECKS`. The asynchronous
    ORM of an async actor runs in the thread that waits for its job: with its connection, and in its
    transaction with `once=True`.

    It is active by default once Django's settings are configured in the process. You set nothing.

    *Order:* before anything wraps the function; no hook above it uses Django.
    """

    def __init__(self) -> None:
        self._state = threading.local()
        """`outer`: identities of the connections that were in a transaction before the job."""

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Wrap an async actor, so that its ORM runs in the thread that waits for the job."""
        if getattr(actor.fn, "__code__", None) is ASYNC_WRAPPER_CODE:
            actor.fn = async_to_sync(_in_job_thread(vars(actor.fn)["__wrapped__"]))

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Close unusable connections, and let Django check the others on first use."""
        if is_django_in_use():
            self._state.outer = {id(each) for each in list_connections() if each.in_atomic_block}
            renew_connections()

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any | None = None,
        exception: BaseException | None = None,
    ) -> None:
        """Close the connections that Django would close after a request."""
        if is_django_in_use():
            drop_unfinished(self._state.__dict__.pop("outer", set()))
            renew_connections()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Close them likewise after a job that was skipped by a check or by itself."""
        if is_django_in_use():
            drop_unfinished(self._state.__dict__.pop("outer", set()))
            renew_connections()

    def before_worker_thread_shutdown(self, broker: Broker, thread: Any) -> None:
        """Close all connections of a thread that ends."""
        close_connections()

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """Close all connections of the thread that ends the worker."""
        close_connections()


def renew_connections() -> None:
    """Close what Django's `close_old_connections` closes, and have the rest checked on first use.

    A connection inside `transaction.atomic` stays as it is: it belongs to a test of the application
    that runs its jobs in its own thread. An error is logged, because it must not fail the job.
    """
    for connection in list_connections():
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
                connection.health_check_enabled = True
        except Exception:
            logger.exception("Could not check Django's connection %r", connection.alias)


def drop_unfinished(outer: set[int]) -> None:
    """Drop connections that a job has left in a transaction, except in an `outer` one.

    A time limit that strikes while `transaction.atomic` begins or ends leaves Django's connection
    in this state for good: all that later jobs of the thread write would never be committed.
    """
    for connection in list_connections():
        if connection.in_atomic_block and id(connection) not in outer:
            logger.warning("Dropped Django's connection %r, left in atomic()", connection.alias)
            try:
                connection.close()
            except Exception:
                logger.exception("Could not close Django's connection %r", connection.alias)
            del sys.modules["django.db"].connections[connection.alias]


def close_connections() -> None:
    """Close all connections of this thread."""
    for connection in list_connections():
        try:
            connection.close()
        except Exception:
            logger.exception("Could not close Django's connection %r", connection.alias)


def list_connections() -> list[Any]:
    """Return Django's connections of this thread; none where Django is not in use."""
    if not is_django_in_use():
        return []
    return list(sys.modules["django.db"].connections.all(initialized_only=True))


def is_django_in_use() -> bool:
    """Return whether this process has loaded Django's database layer and its settings."""
    if "django.db" not in sys.modules:  # asked twice for each job
        return False
    # Another thread may be in the middle of importing either.
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    has_connections = hasattr(sys.modules.get("django.db"), "connections")
    return settings is not None and has_connections and bool(settings.configured)


def _in_job_thread(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    @functools.wraps(function)
    def in_job_thread(*args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        # Not in the coroutine, where `asgiref` finds it only after the first call.
        return run(waiting_executor() is not None, *args, **kwargs)

    async def run(has_outer: bool, /, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: FBT001 -- before those of the job
        thread = current_job_thread()
        if thread is not None and is_django_in_use():
            sync = sys.modules["asgiref.sync"]  # Django has loaded it
            if has_outer:  # an asynchronous test runs this job, in the thread of that executor
                sync.AsyncToSync.executors.current = None
            context = sync.ThreadSensitiveContext()
            # Until the end of the task and of those that it starts. Not entered, because leaving it
            # would give tasks that go on after the job a thread without its transaction.
            sync.SyncToAsync.thread_sensitive_context.set(context)
            sync.SyncToAsync.context_to_thread_executor[context] = JobThreadExecutor(thread)
        return await function(*args, **kwargs)

    return in_job_thread


class JobThreadExecutor:
    """Runs what `asgiref` runs in one thread for a request, in the thread of an async job."""

    def __init__(self, thread: JobThread) -> None:
        self._thread = thread

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Let the thread call a function; raises `OpenTransactionError` if the job has ended."""
        return self._thread.submit(lambda: _call_on_loop(function, *args, **kwargs)).result


def _call_on_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of `asgiref`, which notes the event loop in the thread.

    Without the note, `async_to_sync` of a later job that is not async starts a loop of its own
    again, and does not run on that of the async jobs.
    """
    notes = vars(sys.modules["asgiref.sync"].SyncToAsync.threadlocal)
    before = dict(notes)
    try:
        return function(*args, **kwargs)
    finally:
        notes.clear()
        notes.update(before)
