"""One I/O thread with one AMQP connection, which is made again whenever it is lost."""

import contextlib
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import (
    AMQPConnectionError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from brokers.errors import BrokerUnreachableError

logger = logging.getLogger(__name__)

HEARTBEAT_S = 15
LONGEST_PAUSE_S = 5.0
FIRST_PAUSE_S = 0.1
SOON = 3
CLOSE_TIMEOUT_S = 5.0
TURN_S = 1.0


class Link:
    """Owns the thread, the loop and the connection; all callbacks run in its thread."""

    def __init__(
        self,
        urls: list[str],
        name: str,
        on_open: Callable[[pika.SelectConnection], None],
        on_lost: Callable[[], None],
        on_unblocked: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is opened before `start`."""
        self.name = name
        self.blocked: str | None = None
        """Why RabbitMQ takes no messages now, in its own words."""
        self.trouble = "not connected yet"
        """Why there is no connection, for the error that `send` raises."""
        self.turns = 0
        """Grows every second while the loop turns, connected or not."""
        self._urls = urls
        self._on_open = on_open
        self._on_lost = on_lost
        self._on_unblocked = on_unblocked
        self._failures = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._waking = False
        self._closing = False
        self._loop: Any = None
        self._connection: pika.SelectConnection | None = None
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; it connects and keeps connecting."""
        self._loop = IOLoop()
        self._thread.start()

    def wait_open(self, timeout_s: float) -> None:
        """Return once connected; raises `BrokerUnreachableError` after `timeout_s`."""
        if not self._open.wait(timeout_s):
            raise BrokerUnreachableError(unreachable(self._urls, self.trouble))

    def call(self, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread, soon; safe from any thread, after `start`."""
        self._calls.append(what)
        if not self._waking:  # one wake-up serves all calls that come before it
            self._waking = True
            try:
                self._loop.add_callback_threadsafe(self._work_off)
            except BaseException:  # a time limit may strike here; nobody would ever wake the loop
                self._waking = False
                raise

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Run `what` in the I/O thread after a delay; only from a callback."""
        self._loop.call_later(delay_s, what)

    @property
    def is_started(self) -> bool:
        """Tell whether its loop is to turn."""
        return self._loop is not None and not self._closing

    def is_alive(self) -> bool:
        """Tell whether calls are still worked off."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close the connection in good order and end the thread."""
        self.call(self._close)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._connect()
                self._turn()
                self._loop.start()
            except Exception:
                # A thread that ended here would leave every sender waiting for ever.
                logger.exception("the I/O thread of %s failed; it starts anew", self.name)
                self._start_anew()
                self._failures += 1
                time.sleep(FIRST_PAUSE_S if self._failures < SOON else LONGEST_PAUSE_S)
        self._connection = None  # pika's objects are a cycle that holds the loop's sockets
        self._loop.close()

    def _turn(self) -> None:
        self.turns += 1
        self._loop.call_later(TURN_S, self._turn)

    def _start_anew(self) -> None:
        """Drop the connection, whose state nobody knows, and the loop; RabbitMQ sees it closed."""
        failed, self._loop = self._loop, IOLoop()
        self._connection = None
        self._open.clear()
        with contextlib.suppress(Exception):
            failed.close()
        self._on_lost()
        self._loop.call_later(0, self._work_off)  # a wake-up may have gone to the old loop

    def _work_off(self) -> None:
        self._waking = False  # before the first call, or one added meanwhile would wait for ever
        while self._calls:
            call = self._calls.popleft()
            try:
                call()
            except Exception:
                logger.exception("a call in the I/O thread of %s failed", self.name)

    def _connect(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        url = self._urls[self._failures % len(self._urls)]
        self._connection = pika.SelectConnection(
            parameters(url, self.name),
            on_open_callback=self._opened,
            on_open_error_callback=self._failed,
            on_close_callback=self._lost,
            custom_ioloop=self._loop,
        )

    def _opened(self, connection: Any) -> None:
        if self._closing:
            connection.close()
            return
        if self._failures:
            logger.info("RabbitMQ answers again")
        self._failures = 0
        self.blocked = None
        connection.add_on_connection_blocked_callback(self._was_blocked)
        connection.add_on_connection_unblocked_callback(self._was_unblocked)
        self._on_open(connection)
        self._open.set()

    def _was_blocked(self, _connection: Any, frame: Any) -> None:
        self.blocked = str(frame.method.reason)
        logger.warning("RabbitMQ takes no messages: %s", self.blocked)

    def _was_unblocked(self, _connection: Any, _frame: Any) -> None:
        self.blocked = None
        logger.info("RabbitMQ takes messages again")
        self._on_unblocked()

    def _failed(self, _connection: Any, error: BaseException | str) -> None:
        self.trouble = describe(error)
        if self._failures == 0:
            logger.warning("%s; trying again", unreachable(self._urls, self.trouble))
        self._again()

    def _lost(self, _connection: Any, error: BaseException) -> None:
        self._open.clear()
        self.blocked = None
        self.trouble = describe(error)
        if not self._closing:
            logger.warning("connection to RabbitMQ lost: %s; reconnecting", self.trouble)
        self._on_lost()
        self._again()

    def _again(self) -> None:
        if self._closing:
            self._loop.stop()
            return
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._failures, 10))
        self._failures += 1
        # Jitter, or a restarted RabbitMQ meets all of the fleet in the same millisecond.
        self._loop.call_later(pause * random.uniform(0.5, 1.0), self._connect)  # noqa: S311

    def _close(self) -> None:
        self._closing = True
        if self._connection is not None and self._connection.is_open:
            self._connection.close()
        elif self._connection is None or self._connection.is_closed:
            self._loop.stop()


def parameters(url: str, name: str) -> pika.URLParameters:
    """Read a URL, and name the connection for people who read the management UI."""
    found = pika.URLParameters(url)
    found.heartbeat = HEARTBEAT_S
    found.client_properties = {"connection_name": f"{name} of process {os.getpid()}"}
    return found


def describe(error: object) -> str:
    """Say in words what pika reports as nested exceptions."""
    if isinstance(error, ProbableAuthenticationError):
        return "user or password refused"
    if isinstance(error, ProbableAccessDeniedError):
        return "the virtual host does not exist, or the user may not use it"
    if isinstance(error, AMQPConnectionError) and error.args:
        inner = error.args[0]
        if isinstance(inner, BaseException):
            return describe(getattr(inner, "exception", inner))
    exceptions = getattr(error, "exceptions", None)
    if exceptions:
        return describe(exceptions[-1])
    inner = getattr(error, "exception", None)
    return describe(inner) if inner is not None else str(error) or type(error).__name__


def unreachable(urls: list[str], trouble: str) -> str:
    """Say which server does not answer, without its password, and what to do."""
    places = []
    for url in urls:
        part = pika.URLParameters(url)
        places.append(f"{part.host}:{part.port} (virtual host {part.virtual_host!r})")
    return (
        f"RabbitMQ does not answer at {' or '.join(places)} (WORKSHED_BROKER_URL): {trouble}. "
        "Start it, correct the URL, or run `workshed dev`"
    )
