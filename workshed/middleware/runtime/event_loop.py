"""The event loop on which async actors run."""

import functools
import inspect
import logging
import threading
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread
from dramatiq.broker import Broker
from dramatiq.middleware import Middleware
from dramatiq.threading import Interrupt
from dramatiq.worker import Worker

logger = logging.getLogger(__name__)

Function = Callable[..., Any]


class EventLoop(Middleware):
    """Run `async def` actors on one event loop, which starts with the first of them.

    A worker thread waits for each, so middleware treats async and other actors alike. dramatiq's
    own `AsyncIO` starts a loop in every worker, even without async actors.

    *Order:* before anything wraps the function.
    """

    def __init__(self) -> None:
        self._start_lock = threading.Lock()

    def before_declare_actor(self, broker: Broker, actor: dramatiq.Actor[..., Any]) -> None:
        """Let an async actor start the loop if there is none."""
        if not inspect.iscoroutinefunction(inspect.unwrap(actor.fn)):
            return
        if actor.options.get("once"):
            raise ValueError(
                f"{actor.actor_name}: once=True of an async actor: an interrupted coroutine may go "
                "on for a moment after its transaction has ended; use once(conn, key) inside it"
            )
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
                    loop = EventLoopThread(logger)
                    loop.daemon = True  # it must not delay the exit of the process
                    loop.start(timeout=10)
                    set_event_loop_thread(loop)
            try:
                return function(*args, **kwargs)
            except RuntimeError as err:
                if isinstance(err.__cause__, Interrupt):  # its coroutine did not end within 1 s
                    raise err.__cause__ from None
                raise

        return looped
